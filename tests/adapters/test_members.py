"""Pinned: adapters on the way from one to another lie where their share says, whatever part or block is read."""

from __future__ import annotations

import numpy as np
import pytest

from olal.adapters import Line


@pytest.fixture
def line() -> Line:
    return Line(np.arange(10, dtype=np.float32), np.arange(0, 30, 3, dtype=np.float32), np.array([0.0, 0.5, 1.0]))


def test_members_lie_where_their_share_says(line):
    members = line.block(0, 10)

    assert members.dtype == np.float32
    assert members.tolist() == [[float(factor * i) for i in range(10)] for factor in (1, 2, 3)]


def test_parts_and_blocks_are_those_of_the_whole(line):
    assert len(line) == 3
    assert len(line.part(1, 3)) == 2
    assert line.part(1, 3).block(4, 7).tolist() == line.block(0, 10)[1:3, 4:7].tolist()
