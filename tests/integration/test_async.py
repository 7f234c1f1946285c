"""Asynchronous runs of every way of learning, on real Ray.

Pinned: groups stay whole, seeds are followed and priorities drawn from while nobody waits; no episode is learned from
beyond the staleness bound; full segments of episodes are sealed and read as before; what cannot be asynchronous is
refused before anything starts.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from olal.replay import read_episodes

CONFIG = Path(__file__).parents[2] / "configs" / "gridworld.yaml"
SHORT = ("--mode", "async", "--workers", 2, "--updates", 8, "--set", "evaluation.episodes=8")
SMALL = ("--set", "learner.episodes_per_update=32", "--set", "training.checkpoint_every=2")
WAYS = {
    "ppo": ("--set", "learner.max_staleness=1", "--set", "replay.segment_episodes=40"),
    "grpo": ("--learner", "grpo", "--set", "learner.group_size=4"),
    "mezo": ("--learner", "mezo", "--set", "learner.steps=2"),
    "prioritised": ("--set", "replay.sampling.kind=prioritised"),
}


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("way", WAYS)
def test_nobody_waits_and_the_bounds_hold(olal, head, tmp_path, way):
    run = tmp_path / way
    result = olal("launch", CONFIG, "--address", head, "--run-dir", run, *SHORT, *SMALL, *WAYS[way])

    assert result.code == 0, result.errors
    metrics = rows(run / "metrics.jsonl")
    assert [row["version"] for row in metrics] == list(range(1, 9))
    assert max(row["staleness"] for row in metrics) <= (1 if way == "ppo" else 4)
    assert sum(row["extra"]["adapter_mismatches"] for row in metrics) == 0
    episodes = {one.task.episode_id: one for one in read_episodes(run / "episodes")}
    trained = {event["version"]: event["ids"] for event in rows(run / "ledger.jsonl") if event["event"] == "trained"}
    assert list(trained) == list(range(1, 9))
    for version, ids in trained.items():
        assert all(0 <= version - 1 - episodes[number].adapter_version <= 4 for number in ids)
    if way == "ppo":
        assert list((run / "episodes").glob("*.parquet"))
    if way == "grpo":
        assert all(len({number // 4 for number in ids}) * 4 == len(ids) for ids in trained.values())


def test_what_cannot_be_asynchronous_is_refused_before_anything_starts(olal, tmp_path):
    result = olal("launch", CONFIG, "--mode", "async", "--learner", "es", "--run-dir", tmp_path / "es")
    assert result.code == 2
    assert "mode must be sync" in result.errors[-1]
    assert not (tmp_path / "es").exists()
