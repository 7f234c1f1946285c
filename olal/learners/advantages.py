"""From a batch and the values of its contexts to the advantage and the return of every decision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from olal.learners.batch import DecisionBatch
from olal.returns import discounted_returns, gae, vtrace


def batch_advantages(
    batch: DecisionBatch,
    context_values: NDArray[np.float64],
    *,
    gamma: float,
    gae_lambda: float,
    scale: float = 1.0,
    ratios: NDArray[np.float64] | None = None,
    rho_bar: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Advantages by GAE and discounted returns, bootstrapped only where an episode was cut.

    Episodes in which a ratio is not one were played by another policy: V-trace stands in for both.

    Args:
        batch: N decisions over U contexts.
        context_values: float64, shape (U,).
        gamma: discount per turn.
        gae_lambda: trace decay per turn.
        scale: rewards are divided by it; values are in the divided unit.
        ratios: float64 (N,): probability of each decision now over that when it was made; None where all are one.
        rho_bar: bound of their weight in V-trace.

    Returns:
        Advantages and returns, float64, shape (N,) each.
    """
    advantages, returns = np.zeros(len(batch)), np.zeros(len(batch))
    values = context_values[batch.context_of]
    discounts = gamma ** batch.elapsed_turns.astype(np.float64)
    traces = gae_lambda ** batch.elapsed_turns.astype(np.float64)
    rewards = batch.rewards / scale
    for episode in batch.episodes:
        span = slice(episode.start, episode.stop)
        bootstrap = context_values[episode.bootstrap_context] if episode.bootstrap_context >= 0 else 0.0
        if ratios is not None and (ratios[span] != 1).any():
            returns[span], advantages[span] = vtrace(
                rewards[span], values[span], discounts[span], traces[span], ratios[span], bootstrap, rho_bar=rho_bar
            )
            continue
        advantages[span] = gae(rewards[span], values[span], discounts[span], traces[span], bootstrap)
        returns[span] = discounted_returns(rewards[span], discounts[span], bootstrap)
    return advantages, returns
