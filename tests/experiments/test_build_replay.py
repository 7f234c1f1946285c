"""From a config to the buffer: who may overtake whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from olal.config import load_config
from olal.experiments.build_replay import build_replay
from olal.replay import EpisodeRecord


@pytest.mark.parametrize(
    ("settings", "ready"),
    [
        ({"mode": "async"}, 2),  # a quarter of eight is two
        ({"mode": "async", "replay.sampling.overtaken_share": 0.5}, 3),
        ({"mode": "async", "replay.sampling.overtaken_share": None}, 3),
        ({"mode": "async", "replay.sampling.kind": "prioritised"}, 3),
        ({"mode": "sync"}, 3),
    ],
)
def test_async_batches_keep_the_order_in_which_episodes_began(
    settings: dict[str, Any], ready: int, tmp_path: Path
) -> None:
    (tmp_path / "episodes").mkdir()
    config = load_config([], {"learner.episodes_per_update": 8, **settings})
    buffer, book = build_replay(config, tmp_path)

    buffer.put([EpisodeRecord(i, -1, 0, "0", 1.0, 1, "", b"{}") for i in (1, 3, 5)], 0)  # 0, 2 and 4 are still played
    found = buffer.ready()
    buffer.close()
    book.close()
    assert found == ready
