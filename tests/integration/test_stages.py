"""Stages on real Ray.

Pinned: a run that is resumed in the middle of any stage, or between two, ends bit for bit as if it had never stopped;
a stage can learn from a file of episodes; alarms are in metrics.jsonl and on the terminal.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

SIZE = ("--workers", 1, "--set", "evaluation.episodes=4", "--set", "training.keep_checkpoints=9")
STAGES = [
    {"learner": {"kind": "sft", "keep": "all", "episodes_per_update": 12}, "updates": 2},
    {"learner": {"kind": "value", "episodes_per_update": 16, "epochs": 2}, "updates": 2},
    {"learner": {"kind": "ppo", "episodes_per_update": 16, "epochs": 2}, "updates": 2},
]


def adapter_digest(run: Path) -> str:
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    return json.loads((checkpoint / "state.json").read_text())["adapter_digest"]


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.timeout(400)
def test_a_run_resumed_in_any_stage_equals_one_never_stopped(olal, head, tmp_path):
    source, whole, config = tmp_path / "source", tmp_path / "whole", tmp_path / "stages.yaml"
    small = ("--updates", 1, "--set", "learner.episodes_per_update=30", *SIZE)
    assert olal("launch", "--address", head, "--run-dir", source, *small).code == 0
    STAGES[0]["learner"]["trajectories"] = str(source / "episodes")
    config.write_text(yaml.safe_dump({"stages": STAGES, "training": {"checkpoint_every": 1}}))

    result = olal("launch", config, "--address", head, "--run-dir", whole, *SIZE)

    assert result.code == 0, result.errors
    metrics = rows(whole)
    assert [row["episodes"] for row in metrics] == [0, 0, 16, 32, 48, 64]
    assert [row["adapter_digest"] == metrics[1]["adapter_digest"] for row in metrics] == [
        *(False, True, True, True, False, False)  # the critic's stage leaves the adapter alone
    ]
    for stop in (1, 2, 3, 5):
        broken = tmp_path / f"broken-{stop}"
        shutil.copytree(whole, broken)
        for checkpoint in sorted((broken / "checkpoints").iterdir())[stop:]:
            shutil.rmtree(checkpoint)
        resumed = olal("resume", broken, "--address", head)
        assert resumed.code == 0, resumed.errors
        assert adapter_digest(broken) == adapter_digest(whole), stop
        assert [row["adapter_digest"] for row in rows(broken)] == [row["adapter_digest"] for row in metrics]


def test_alarms_reach_metrics_and_terminal(olal, head, tmp_path):
    run = tmp_path / "alarmed"
    options = ("--updates", 1, "--set", "learner.learning_rate=1e-20", "--set", "learner.episodes_per_update=8", *SIZE)

    result = olal("launch", "--address", head, "--run-dir", run, *options)

    assert result.code == 0, result.errors
    [row] = rows(run)
    assert set(row["alarms"]) == {"update_below_rounding"}
    [line] = [line for line in result.lines if line.startswith("ALARM")]
    assert line == f"ALARM update_below_rounding in version 1: {row['alarms']['update_below_rounding']}"
