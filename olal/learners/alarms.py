"""Sanity alarms: the ways in which learning goes wrong without an error.

Each check returns nothing, or one line under the alarm's name; an update carries those of all its checks. They reach
metrics.jsonl and the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from olal.types import Trajectory

Alarms = dict[str, str]

LEAST_ENTROPY_SHARE = 0.01
MOST_RATIO_ERROR = 0.01
MOST_HALF_RATIO_ERROR = 0.5
KL_BLOW_UP = 10.0
_CHUNK = 1 << 18


def non_finite(metrics: Mapping[str, float], arrays: Mapping[str, NDArray[Any]]) -> Alarms:
    """A number that is NaN or infinite; the update must be refused.

    Args:
        metrics: of the update.
        arrays: all that was learned, by name: the adapter, critics and what optimizers remember.
    """
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    wrong += [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if not wrong:
        return {}
    named = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
    return {"non_finite": f"not finite: {named}; the update is refused and the last good adapter stays"}


def below_rounding(
    before: NDArray[np.float32], after: NDArray[np.float32], *, mantissa_bits: int, steps: int
) -> Alarms:
    """Steps were made, and no weight moved by half the last bit of a weight of the usual size.

    Args:
        before: the adapter, float32.
        after: the adapter after the steps.
        mantissa_bits: of the number format: 23 for float32, 7 for bfloat16.
        steps: how many were made.
    """
    squares, furthest = 0.0, 0.0
    for start in range(0, len(before), _CHUNK):  # as float64 whole, an adapter would cost more room than a model pass
        old = before[start : start + _CHUNK].astype(np.float64)
        squares += float(np.square(old).sum())
        furthest = max(furthest, float(np.abs(after[start : start + _CHUNK] - old).max()))
    if not steps or furthest >= 0.5 * math.sqrt(squares / len(before)) * 2.0**-mantissa_bits:
        return {}
    return {"update_below_rounding": "the update is below the weights' rounding step; raise learner.learning_rate"}


def ratio_not_one(largest_gap: float, *, tolerance: float = MOST_RATIO_ERROR) -> Alarms:
    """Engine and learner disagree on a probability although both have the same weights."""
    if not math.isfinite(largest_gap) or math.expm1(min(largest_gap, 700.0)) <= tolerance:
        return {}
    ratio = math.exp(min(largest_gap, 700.0))
    return {
        "ratio_not_one": f"at identical weights the ratio of learner to engine is {ratio:.4g}, not 1; they differ in "
        "model, number format or temperature"
    }


def ratio_tolerance(dtype: torch.dtype) -> float:
    """How far a ratio may be from one where engine and learner round alike, but in batches of other shapes."""
    return MOST_RATIO_ERROR if dtype == torch.float32 else MOST_HALF_RATIO_ERROR


def success_rate(trajectories: Sequence[Trajectory]) -> float | None:
    """Share of the episodes that solved the task; None where that has no meaning."""
    solved = [trajectory.success for trajectory in trajectories if trajectory.success is not None]
    return sum(solved) / len(solved) if solved else None


def entropy_collapse(entropy: float, largest_entropy: float, *, success_rate: float | None = None) -> Alarms:
    """Hardly any chance is left in the choices, and the task is not solved.

    Args:
        entropy: mean over the decisions, in nats.
        largest_entropy: mean over the decisions of log(number of legal tokens).
        success_rate: of the episodes; None where that has no meaning.
    """
    if largest_entropy <= 0 or entropy >= LEAST_ENTROPY_SHARE * largest_entropy:
        return {}
    if success_rate is not None and success_rate >= 0.9:
        return {}
    share = entropy / largest_entropy
    return {"entropy_collapse": f"the entropy is {share:.2%} of the largest possible; raise learner.entropy"}


def kl_blow_up(kl: float, target: float) -> Alarms:
    """One update moved the policy many times farther than it was to."""
    if not kl > KL_BLOW_UP * target:
        return {}
    return {"kl_blow_up": f"the policy moved by a KL of {kl:.3g} in one update, target {target:g}; lower the step size"}


def no_signal(advantages: NDArray[np.float64]) -> Alarms:
    """Every decision was as good as any other: nothing to learn."""
    if len(advantages) and np.abs(advantages).max() > 1e-9:
        return {}
    return {"advantages_zero": "all advantages are zero: the episodes did equally well, so nothing is learned"}


def losses_agree(gaps: NDArray[np.float64]) -> Alarms:
    """Zeroth order: an adapter and its opposite always do alike, so no direction is known.

    Args:
        gaps: loss+ less loss- of every direction that was measured.
    """
    if not len(gaps) or (gaps != 0).any():
        return {}
    return {"loss_plus_is_loss_minus": "loss+ equals loss- along every direction; raise learner.sigma"}


def no_pair(directions: int) -> Alarms:
    """Evolution strategies: no direction was played to the end under both of its signs."""
    return {"no_pair": f"none of the {directions} directions was played under both signs, so nothing is learned"}


def nothing_admitted(given: int, dropped: Mapping[str, int]) -> Alarms:
    """Every trajectory of the batch was refused."""
    if not given or sum(dropped.values()) < given:
        return {}
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    return {"nothing_admitted": f"all {given} trajectories were dropped ({reasons}); nothing is learned"}
