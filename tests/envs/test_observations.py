"""Observations as text, kind by kind."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from olal.envs import render_observation


@pytest.mark.parametrize(
    ("observation", "space", "expected"),
    [
        (np.int64(5), spaces.Discrete(16), "state 5"),
        ((14, np.int64(10), 0), spaces.Tuple([spaces.Discrete(32)] * 3), "(14, 10, 0)"),
        (np.float32([0.126, -4]), spaces.Box(-5, 5, (2,)), "[0.13, -4.00]"),
        (np.array([[1, 0]], np.int8), spaces.MultiBinary((1, 2)), "[[1, 0]]"),
        (np.array(0.5, np.float32), spaces.Box(0, 1, ()), "0.50"),
        (np.float32([-0.001]), None, "[0.00]"),
        (np.array([True, False]), None, "[1, 0]"),
        ("you see a door", spaces.Text(20), "you see a door"),
        (
            {"b": 1, "a": {"x": np.float32([0.5])}},
            spaces.Dict([("a", spaces.Dict({"x": spaces.Box(0, 1, (1,))})), ("b", spaces.Discrete(2))]),
            "a: (x: [0.50]); b: 1",
        ),
    ],
)
def test_each_kind_of_observation_has_its_text(observation, space, expected):
    assert render_observation(observation, space) == expected


def test_digits_set_the_decimals():
    assert render_observation(np.array([1 / 3]), digits=4) == "[0.3333]"
    assert render_observation(np.array([2 / 3]), digits=0) == "[1]"
