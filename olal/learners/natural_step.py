"""natural_step: the best use of a few random directions, from what a zeroth-order learner has measured anyway.

Each direction z_i was tried both ways. That tells the slope s_i of the loss along it, and for nothing also the response
r_i of the log-probability of every decision. Plain MeZO moves along sum_i s_i z_i. But random directions all do much
the same to a policy, mostly to its overall preference for some action, and little to what it does in one state and not
in another; so the plain step shakes what is settled and hardly touches what is left to learn. The natural gradient
(Amari 1998, "Natural gradient works efficiently in learning"; Kakade 2001) measures length by what changes in the
policy instead. Within the span of the directions it takes an n by n system and no model pass:

    F_ij = E[r_i r_j]        the Fisher information, as E over sampled decisions of d log pi / dz_i  d log pi / dz_j
    c = -(F + lambda I)^-1 s          the step is sum_i c_i z_i, and it changes the policy by a KL of c F c / 2

A bound on that KL keeps the step where the linear picture holds (Schulman et al. 2015, "Trust region policy
optimization", appendix C).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def natural_step(
    slopes: NDArray[np.float64], responses: NDArray[np.float64], *, rate: float, max_kl: float, damping: float
) -> tuple[NDArray[np.float64], float]:
    """How far to go along each direction.

    Args:
        slopes: float64, shape (n,): derivative of the loss along each direction.
        responses: float64, shape (n, N): derivative of the log-probability of each decision along each direction.
        rate: share of the whole natural step that is taken.
        max_kl: KL divergence, in nats, that the step may move the policy by.
        damping: lambda, in units of the mean diagonal of F.

    Returns:
        Coefficients, float64 of shape (n,), and the KL divergence of the step by the quadratic estimate.

    >>> coefficients, kl = natural_step(np.array([-1.0]), np.array([[2.0, -2.0]]), rate=1.0, max_kl=9.0, damping=0.0)
    >>> coefficients.tolist(), kl
    ([0.25], 0.125)
    """
    fisher = responses @ responses.T / responses.shape[1]
    size = float(np.trace(fisher)) / len(fisher)
    if not (size > 0 and np.isfinite(size) and np.isfinite(slopes).all()):
        return np.zeros(len(slopes)), 0.0
    whole = -np.linalg.solve(fisher + damping * size * np.eye(len(fisher)), slopes)
    kl = float(whole @ fisher @ whole) / 2
    scale = min(rate, float(np.sqrt(max_kl / kl))) if kl > 0 else rate
    return whole * scale, kl * scale**2


def best_share(
    losses: NDArray[np.float64], logprobs: NDArray[np.float64], *, max_kl: float
) -> tuple[int, NDArray[np.float64]]:
    """Which of some points on the way of a step to stop at, now that they have been looked at.

    Far from where the derivatives were taken the policy may move much farther than they foretold.

    Args:
        losses: float64, shape (points,); the last point is where the step starts, the first where it ends.
        logprobs: float64, shape (points, N): of the decisions.
        max_kl: KL divergence, in nats, that may lie between the start and the point chosen.

    Returns:
        The point with the least loss among those within the bound, the first of equals; and the KL divergence of every
        point: the mean of r - 1 - log r over decisions, with r the ratio of probabilities (Schulman 2020,
        "Approximating KL divergence").

    >>> best_share(np.array([-3.0, -1.0, 0.0]), np.array([[-4.0], [-1.1], [-1.0]]), max_kl=0.1)[0]
    1
    """
    log_ratios = logprobs - logprobs[-1]
    divergences = (np.exp(np.minimum(log_ratios, 50.0)) - 1 - log_ratios).mean(axis=1)
    is_allowed = (divergences <= max_kl) & np.isfinite(losses)
    is_allowed[-1] = True
    return int(np.argmin(np.where(is_allowed, losses, np.inf))), divergences
