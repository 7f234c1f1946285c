"""Group-relative advantages: the episodes of one group share their start and stand in for a critic.

GRPO (Shao et al. 2024, "DeepSeekMath", section 4.1.2): A_i = (R_i - mean(R)) / std(R) within the group.
RLOO (Kool et al. 2019; Ahmadian et al. 2024, "Back to basics", eq. 6): A_i = R_i - mean of the others' R.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def group_advantages(
    returns: NDArray[np.float64], groups: NDArray[np.int64], *, baseline: Literal["grpo", "rloo"], std_floor: float
) -> NDArray[np.float64]:
    """One advantage per episode, or per decision where decisions are what is compared.

    Args:
        returns: float64, shape (n,): undiscounted ones of episodes, or discounted ones that followed decisions.
        groups: int64, shape (n,): which group each belongs to; a group of one learns nothing.
        baseline: "grpo" centres and scales by the group's deviation, "rloo" leaves each itself out.
        std_floor: least deviation that is divided by; GRPO only.

    Returns:
        float64, shape (n,).

    >>> returns, groups = np.array([1.0, 0.0, 0.0, 5.0]), np.array([7, 7, 7, 8])
    >>> group_advantages(returns, groups, baseline="rloo", std_floor=0.0).tolist()
    [1.0, -0.5, -0.5, 0.0]
    """
    advantages = np.zeros(len(returns))
    _, counts = np.unique(groups, return_counts=True)
    for members in np.split(np.argsort(groups, kind="stable"), np.cumsum(counts)[:-1]):
        size = len(members)
        if size < 2:
            continue
        centred = returns[members] - returns[members].mean()
        if baseline == "rloo":
            advantages[members] = centred * size / (size - 1)
        else:
            advantages[members] = centred / max(float(centred.std()), std_floor, 1e-12)
    return advantages
