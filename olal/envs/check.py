"""check: what an environment returned, held to what it promised, so that nothing else has to ask."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from gymnasium import spaces

from olal.errors import BadObservation, BadReward, BadStep
from olal.types import TimeStep

_LONGEST_SHOWN = 80


def check_time_step(step: Any) -> TimeStep:
    """A time step as it came from an environment of the user's, with Python's own numbers.

    Raises:
        BadStep: it is no TimeStep, or a flag is no truth value.
        BadObservation: the observation is no text.
        BadReward: the reward is not one finite number.
    """
    if not isinstance(step, TimeStep):
        raise BadStep(f"reset and step must return a TimeStep, not {show(step)}")
    observation, paid = cast("tuple[Any, Any]", (step.observation, step.reward))
    if type(observation) is str and type(paid) is float and math.isfinite(paid) and _has_plain_flags(step):
        return step
    if not isinstance(observation, str):
        raise BadObservation(f"an observation must be a text, not {show(observation)}")
    reward, terminated, truncated = read_reward(paid), read_flag(step.terminated), read_flag(step.truncated)
    return TimeStep(observation, reward, terminated, truncated, step.success)


def _has_plain_flags(step: TimeStep) -> bool:
    return type(step.terminated) is bool and type(step.truncated) is bool


def read_reward(reward: Any) -> float:
    """A reward as environments pay it: a Python or numpy number.

    Raises:
        BadReward: it is not one finite number.
    """
    if isinstance(reward, np.ndarray | np.generic) and reward.ndim == 0:
        reward = cast(Any, reward).item()
    if not isinstance(reward, int | float) or not math.isfinite(reward):
        raise BadReward(f"a reward must be one finite number, not {show(reward)}")
    return float(reward)


def read_flag(flag: Any) -> bool:
    """A flag as environments set it: a truth value of Python or numpy, or 0 or 1.

    Raises:
        BadStep: it is none of these.
    """
    if isinstance(flag, bool):
        return flag
    if isinstance(flag, np.ndarray | np.generic) and flag.ndim == 0:
        flag = cast(Any, flag).item()
    if not isinstance(flag, int) or flag not in (0, 1):
        raise BadStep(f"terminated and truncated must be True or False, not {show(flag)}")
    return bool(flag)


def check_observation(observation: Any, space: spaces.Space[Any]) -> None:
    """Hold an observation to the space that the environment declares.

    Number types may differ, as long as the values fit; the characters of a Text space are not looked at, since its
    default admits not even a blank.

    Raises:
        BadObservation: it lies outside.
    """
    if not _is_inside(observation, space):
        raise BadObservation(f"an observation must lie in the observation space {space}, not {show(observation)}")


def show(value: Any) -> str:
    """A value on one line that is not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _is_inside(value: Any, space: Any) -> bool:
    match space:
        case spaces.Discrete():
            first, count = cast("tuple[int, int]", (space.start, space.n))
            return _is_integer(value) and 0 <= int(value) - first < count
        case spaces.Text():
            return isinstance(value, str) and len(value) <= space.max_length
        case spaces.Dict():
            return isinstance(value, Mapping) and all(
                key in value and _is_inside(value[key], space[key]) for key in space
            )
        case spaces.Tuple():
            parts = cast("tuple[Any, ...]", space.spaces)
            if not isinstance(value, tuple | list) or len(cast("list[Any]", value)) != len(parts):
                return False
            return all(_is_inside(one, part) for one, part in zip(cast("list[Any]", value), parts, strict=True))
        case spaces.Box():
            return _is_in_box(value, space)
        case spaces.MultiDiscrete() | spaces.MultiBinary():
            return _is_in_grid(value, space)
        case _:
            return bool(space.contains(value))


def _is_in_box(value: Any, box: Any) -> bool:
    numbers = _numbers(value)
    if numbers is None or numbers.shape != box.shape:
        return False
    numbers = numbers.astype(box.dtype) if box.dtype.kind == "f" else numbers  # as the bounds were rounded
    return bool(np.all((numbers >= box.low) & (numbers <= box.high)))


def _is_in_grid(value: Any, space: Any) -> bool:
    numbers = _numbers(value)
    return numbers is not None and numbers.dtype.kind in "biu" and bool(space.contains(numbers.astype(space.dtype)))


def _numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """An array of real numbers, or None."""
    try:
        numbers = np.asarray(value)
    except (TypeError, ValueError):  # ragged, or no array at all
        return None
    return numbers if numbers.dtype.kind in "biuf" else None


def _is_integer(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        number = cast(Any, value)
        return number.ndim == 0 and number.dtype.kind in "biu"
    return isinstance(value, int)
