"""Generalised advantage estimation over token decisions.

Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 11 and 16:
delta_t = r_t + gamma V(s_{t+1}) - V(s_t),  A_t = delta_t + gamma lambda A_{t+1}.
Here one step is one token decision. Time passes only when the environment moves, so gamma and lambda are those of the
config at the last decision of a turn and 1 inside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def gae(rewards: Float, values: Float, discounts: Float, traces: Float, bootstrap: float) -> Float:
    """Advantages of one episode.

    Args:
        rewards: float64, shape (steps,): paid after each decision.
        values: float64, shape (steps,): V of the state each decision was made in.
        discounts: float64, shape (steps,): gamma from each decision to the next.
        traces: float64, shape (steps,): lambda from each decision to the next.
        bootstrap: V of the state after the last decision: 0 if the episode terminated, an estimate if it was cut.

    Returns:
        float64, shape (steps,).

    >>> ones, zeros = np.ones(2), np.zeros(2)
    >>> gae(ones, zeros, ones, ones, bootstrap=5.0).tolist()
    [7.0, 6.0]
    """
    advantages = np.zeros(len(rewards))
    next_value, next_advantage = float(bootstrap), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + discounts[t] * next_value - values[t]
        next_advantage = delta + discounts[t] * traces[t] * next_advantage
        next_value = values[t]
        advantages[t] = next_advantage
    return advantages


def discounted_returns(rewards: Float, discounts: Float, bootstrap: float) -> Float:
    """Returns to go of one episode, G_t = r_t + gamma_t G_{t+1}, with G after the end equal to `bootstrap`.

    >>> discounted_returns(np.array([1.0, 1.0]), np.array([0.5, 0.5]), bootstrap=4.0).tolist()
    [2.5, 3.0]
    """
    returns = np.zeros(len(rewards))
    following = float(bootstrap)
    for t in range(len(rewards) - 1, -1, -1):
        following = rewards[t] + discounts[t] * following
        returns[t] = following
    return returns


def normalise(advantages: Float, *, std_floor: float) -> Float:
    """Centre and scale to unit deviation, but never divide by less than `std_floor`.

    Without the floor a batch in which every episode did equally well turns rounding noise into full-size advantages.

    >>> normalise(np.array([1.0, 1.0]), std_floor=0.05).tolist()
    [0.0, 0.0]
    """
    if len(advantages) == 0:
        return advantages
    return (advantages - advantages.mean()) / max(float(advantages.std()), std_floor)
