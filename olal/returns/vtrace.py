"""V-trace over token decisions: values and advantages from episodes that an older policy played.

Espeholt et al. 2018, "IMPALA", eq. 1, with the trace decay lambda of their appendix:
v_s = V(x_s) + sum_{t>=s} gamma^{t-s} (prod_{i=s}^{t-1} c_i) rho_t (r_t + gamma V(x_{t+1}) - V(x_t)),
rho_t = min(rho_bar, ratio_t), c_i = lambda min(c_bar, ratio_i). As in `olal.returns.gae`, a step is a token decision.
"""

from __future__ import annotations

import numpy as np

from olal.returns.gae import Float


def vtrace(
    rewards: Float,
    values: Float,
    discounts: Float,
    traces: Float,
    ratios: Float,
    bootstrap: float,
    *,
    rho_bar: float = 1.0,
    c_bar: float = 1.0,
) -> tuple[Float, Float]:
    """Value targets and advantages of one episode.

    With every ratio at one the advantages are those of `gae`, and the targets those advantages above the values.

    Args:
        rewards: float64, shape (steps,): paid after each decision.
        values: float64, shape (steps,): V of the state each decision was made in.
        discounts: float64, shape (steps,): gamma from each decision to the next.
        traces: float64, shape (steps,): lambda from each decision to the next.
        ratios: float64, shape (steps,): learner's probability of each decision over that of the policy that acted.
        bootstrap: V of the state after the last decision: 0 if the episode terminated, an estimate if it was cut.
        rho_bar: bound of the weight of a decision's own error, which sets the policy that is evaluated.
        c_bar: bound of the weight with which later errors reach earlier states.

    Returns:
        Targets v, and advantages r_t + gamma V(x_{t+1}) - V(x_t) + gamma lambda (v_{t+1} - V(x_{t+1})), not weighted by
        rho_t, float64 of shape (steps,) each.

    >>> ones, zeros = np.ones(2), np.zeros(2)
    >>> targets, advantages = vtrace(ones, zeros, ones, ones, np.array([2.0, 0.5]), bootstrap=1.0)
    >>> targets.tolist(), advantages.tolist()
    ([2.0, 1.0], [2.0, 2.0])
    """
    targets, advantages = np.zeros(len(rewards)), np.zeros(len(rewards))
    next_value, next_error = float(bootstrap), 0.0
    for t in range(len(rewards) - 1, -1, -1):
        delta = rewards[t] + discounts[t] * next_value - values[t]
        carried = discounts[t] * traces[t] * next_error
        error = min(rho_bar, ratios[t]) * delta + min(c_bar, ratios[t]) * carried
        advantages[t] = delta + carried
        targets[t] = values[t] + error
        next_value, next_error = float(values[t]), float(error)
    return targets, advantages
