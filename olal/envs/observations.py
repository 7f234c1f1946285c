"""Observations as text: the rendering used where a task brings none of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from gymnasium import spaces


def render_observation(observation: Any, space: spaces.Space[Any] | None = None, digits: int = 2) -> str:
    """Write an observation on one line.

    Args:
        observation: what the environment returned.
        space: its observation space; tells a state number from other numbers and orders the keys of a dictionary.
        digits: decimals of floating-point numbers.

    Returns:
        Texts as they are, `state 5` for Discrete, `(14, 10, 0)` for tuples, `[0.10, -0.50]` for arrays and
        `key: value; key: value` for dictionaries.

    >>> render_observation(5, spaces.Discrete(16))
    'state 5'
    >>> render_observation({"speed": np.array([0.123, -4.0]), "gear": 2})
    'speed: [0.12, -4.00]; gear: 2'
    """
    if isinstance(space, spaces.Discrete):
        return f"state {int(observation)}"
    if isinstance(observation, Mapping):
        values = cast("Mapping[Any, Any]", observation)
        return _render_items({key: values[key] for key in space} if isinstance(space, spaces.Dict) else values, digits)
    return _render(observation, digits)


def _render(value: Any, digits: int) -> str:
    if isinstance(value, np.ndarray | np.generic):
        value = cast(Any, value).tolist()
    if isinstance(value, Mapping):
        return f"({_render_items(cast('Mapping[Any, Any]', value), digits)})"
    if isinstance(value, tuple | list):
        items = ", ".join(_render(item, digits) for item in cast("list[Any]", value))
        return f"({items})" if isinstance(value, tuple) else f"[{items}]"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return f"{round(value, digits) + 0.0:.{digits}f}"  # adding zero turns -0.0 into 0.0
    return str(value)


def _render_items(values: Mapping[Any, Any], digits: int) -> str:
    return "; ".join(f"{key}: {_render(value, digits)}" for key, value in values.items())
