"""Episodes to buffer, small but with every field set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from olal.types import Bootstrap, Completion, EpisodeTask, GrammarSpec, Trajectory, Turn


def make_episode(episode_id: int = 0, **changes: Any) -> Trajectory:
    grammar, other = GrammarSpec('{"a":1}'), GrammarSpec('{"é":2}')
    completion = Completion(
        (5, 6, 1), "left ☃", (-0.1, 0.0, -2.5), (False, True, False), (-1e-9, 0.0, -3.0), 3, "grammar", 2
    )
    turns = (
        Turn("lake row=0", (7, 8), grammar, completion, 0.1),
        Turn("", (), other, Completion((), "", (), (), (), 3, "length", 0), -1.0),
    )
    fields: dict[str, Any] = {
        "turns": turns,
        "terminated": False,
        "truncated": True,
        "success": None,
        "adapter_version": 3,
        "adapter_digest": "abc",
        "worker": 2,
        "duration_s": 0.1234567890123,
        "bootstrap": Bootstrap((9, 10), grammar),
    }
    return Trajectory(EpisodeTask(episode_id, 10**12 + episode_id, 4), **fields | changes)


@pytest.fixture
def episode() -> Callable[..., Trajectory]:
    return make_episode
