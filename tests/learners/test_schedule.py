"""Pinned: the rate falls on a straight line by version and then stays."""

from __future__ import annotations

import numpy as np
import pytest

from olal.learners.schedule import LinearDecay


@pytest.mark.parametrize("over", [1, 3, 40])
def test_the_rate_falls_on_a_straight_line_and_stays(over: int) -> None:
    schedule = LinearDecay(2.0, 0.1, over)

    rates = [schedule.at(version) for version in range(over + 3)]

    assert rates == pytest.approx(np.interp(range(over + 3), [0, over], [2.0, 0.2]))


def test_a_schedule_over_nothing_is_at_its_start_and_then_its_end() -> None:
    schedule = LinearDecay(1.0, 0.5, 0)

    assert [schedule.at(0), schedule.at(1)] == [1.0, 0.5]
