"""Episodes to buffer, small but with every field set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from olal.replay import EpisodeRecord
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


def make_record(
    episode_id: int, version: int = 0, *, group: int = -1, earned: float = 0.0, error: str = "", size: int = 0
) -> EpisodeRecord:
    """A record whose payload is a whole, if empty, episode of at least `size` bytes."""
    payload = (
        f'{{"episode_id": {episode_id}, "group": {group}, "adapter_version": {version}, "adapter_digest": "d", '
        f'"return": {earned}, "error": "{error}", "turns": [], "padding": "{"x" * size}"}}'
    )
    return EpisodeRecord(episode_id, group, version, "d", earned, 0, error, payload.encode())


@pytest.fixture
def episode() -> Callable[..., Trajectory]:
    return make_episode


@pytest.fixture
def record() -> Callable[..., EpisodeRecord]:
    return make_record
