"""Stale: episodes that an older policy played, decoupled from the policy that the update starts from.

Hilton et al. 2021, "Batch size-invariance for policy optimization", eq. 4: the surrogate is clipped around pi_prox,
recomputed at the start of the update, and a decision counts w_t = min(rho_bar, pi_prox(a_t) / pi_behaviour(a_t)) times
(Espeholt et al. 2018, "IMPALA"). Where the acting policy is the present one, it is the proximal policy itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from olal.learners.batch import DecisionBatch


@dataclass(frozen=True, slots=True)
class Stale:
    """How the acting policy differs from the one that is updated.

    Attributes:
        proximal: float64 (N,): log-probabilities of the policy that the update starts from.
        weights: float64 (N,): truncated importance weights, 1 where both policies are the same.
        is_stale: bool (N,): made by an older version.
    """

    proximal: NDArray[np.float64]
    weights: NDArray[np.float64]
    is_stale: NDArray[np.bool_]

    def ratios(self, batch: DecisionBatch) -> NDArray[np.float64]:
        """Whole importance ratios, shape (N,): 1 where both policies are the same."""
        return np.where(self.is_stale, np.exp(self.proximal - batch.behaviour_logprobs), 1.0)

    def metrics(self, batch: DecisionBatch, rho_bar: float) -> dict[str, float]:
        """Numbers about what is stale; none where nothing is."""
        if not self.is_stale.any():
            return {}
        gaps = (self.proximal - batch.behaviour_logprobs)[self.is_stale]
        return {
            "stale_fraction": float(self.is_stale.mean()),
            "importance_weight": float(self.weights[self.is_stale].mean()),
            "truncated_fraction": float((np.exp(gaps) > rho_bar).mean()),
            "behaviour_kl": float((np.exp(gaps) - 1 - gaps).mean()),
        }


def decouple(batch: DecisionBatch, logprobs: NDArray[np.float64], *, version: int, rho_bar: float) -> Stale:
    """Proximal log-probabilities and truncated importance weights.

    Args:
        batch: N decisions.
        logprobs: float64 (N,): theirs under the policy that the update starts from.
        version: of that policy.
        rho_bar: bound of the weights.
    """
    is_stale = batch.is_older_than(version)
    proximal = np.where(is_stale, logprobs, batch.behaviour_logprobs)
    log_weights = np.minimum(proximal - batch.behaviour_logprobs, np.log(rho_bar))
    return Stale(proximal, np.where(is_stale, np.exp(log_weights), 1.0), is_stale)
