"""Prioritised: draws the episodes that say most about the policy, and weighs them so that the mean stays what it was.

Schaul et al. 2016, "Prioritized experience replay", with the advantage in the place of the TD error:
p_i = (|A_i| + eps)^alpha exp(-age_i / tau). Drawn without replacement by the Gumbel-top-k trick (Kool et al. 2019,
"Stochastic beams and where to find them"): the k largest of log p_i + G_i. With kappa the (k+1)-th largest, unit i is
in the draw with probability q_i = 1 - exp(-exp(log p_i - kappa)), and sum_{i drawn} f_i / q_i is an unbiased estimate
of sum_i f_i for any f (Duffield, Lund, Thorup 2007, "Priority sampling for estimation of arbitrary subset sums").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from olal.replay.sampler import Draw, Unit

_EPSILON = 0.01
_STD_FLOOR = 1e-6


class Prioritised:
    """Without replacement; whole units. See `Sampler` for the contract.

    What a weighted mean over the drawn units estimates is the mean over all that wait, where a unit of age a counts
    exp(-a / tau) times: old episodes fade, but which ones are drawn more often for their advantage shifts nothing.
    """

    def __init__(self, alpha: float = 0.6, age_decay_versions: float | None = 8.0, *, seed: int) -> None:
        """Set the law.

        Args:
            alpha: 0 draws evenly, 1 in proportion to the advantage.
            age_decay_versions: tau, versions after which an episode counts 1/e; None lets none fade.
            seed: of the draws; each is a function of it and of the learner's version.
        """
        self._alpha, self._decay, self._seed = alpha, age_decay_versions, seed

    def draw(self, units: Sequence[Unit], count: int, version: int) -> list[Draw]:
        """See `Sampler`; as many units as surely fit. The weights of a draw have a mean of at most one."""
        widest = max((len(unit) for unit in units), default=1)
        k = min(count // widest, len(units))
        if k == 0:
            return []
        fade = self._fade(units, version)
        random = np.random.default_rng([self._seed, version])
        chosen, inclusion = gumbel_top_k(self._log_priorities(units) + np.log(fade), k, random)
        weights = bounded(k * fade[chosen] / (fade.sum() * inclusion))
        return [Draw(int(index), float(weight)) for index, weight in zip(chosen, weights, strict=True)]

    def _fade(self, units: Sequence[Unit], version: int) -> NDArray[np.float64]:
        """exp(-age / tau) of the youngest member, shape (units,)."""
        if self._decay is None:
            return np.ones(len(units))
        ages = np.array([version - max(record.adapter_version for record in unit) for unit in units], np.float64)
        return np.exp(-np.clip(ages, 0, 300) / self._decay)

    def _log_priorities(self, units: Sequence[Unit]) -> NDArray[np.float64]:
        """Log of the mean of (|A| + eps)^alpha over a unit's members, shape (units,)."""
        return np.log(_means((absolute_advantages(units) + _EPSILON) ** self._alpha, _sizes(units)))


def absolute_advantages(units: Sequence[Unit]) -> NDArray[np.float64]:
    """|return - mean| / std per episode, unit after unit, shape (episodes,).

    Mean and deviation are those of the unit, or, of an episode that is alone in it, those of all that wait.

    >>> from olal.replay.record import EpisodeRecord
    >>> episodes = [EpisodeRecord(i, -1, 0, "", float(earned), 1, "", b"") for i, earned in enumerate([1, 1, 3, 3])]
    >>> absolute_advantages([[episode] for episode in episodes]).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    returns = np.array([record.episode_return for unit in units for record in unit], np.float64)
    returns[~np.isfinite(returns)] = 0.0  # the learner's admission will leave them out
    sizes = _sizes(units)
    means = np.where(sizes > 1, _means(returns, sizes), returns.mean())
    gaps = np.abs(returns - np.repeat(means, sizes))
    stds = np.where(sizes > 1, np.sqrt(_means(np.square(gaps), sizes)), returns.std())
    return gaps / np.maximum(np.repeat(stds, sizes), _STD_FLOOR)


def _sizes(units: Sequence[Unit]) -> NDArray[np.int64]:
    return np.array([len(unit) for unit in units], np.int64)


def _means(values: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean of each run of values, shape (len(sizes),)."""
    return np.add.reduceat(values, np.cumsum(sizes) - sizes) / sizes


def gumbel_top_k(
    log_priorities: NDArray[np.float64], k: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw k of n without replacement, as if one after the other in proportion to the priorities of those left.

    Args:
        log_priorities: float64 (n,), natural logs, not necessarily normalised.
        k: how many, at most n.
        random: the randomness.

    Returns:
        Indices (k,) in the order of the draw, and the probability of each to be in it given the threshold (k,); all
        ones where k is n.
    """
    keys = log_priorities + random.gumbel(size=len(log_priorities))
    order = np.argsort(-keys, kind="stable")
    chosen = order[:k]
    if k == len(keys):
        return chosen, np.ones(k)
    threshold = keys[order[k]]
    return chosen, -np.expm1(-np.exp(log_priorities[chosen] - threshold))


def bounded(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by the mean where it is above one, so that no draw of rare episodes makes an update larger than usual.

    >>> bounded(np.array([1.0, 3.0])).tolist(), bounded(np.array([0.5, 1.0])).tolist()
    ([0.5, 1.5], [0.5, 1.0])
    """
    return weights / max(1.0, float(weights.mean()))
