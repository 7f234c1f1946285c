"""Seeds instead of adapters, on real Ray.

Pinned: a forward-only run that is killed and resumed has every version in its log once, ends as one never stopped, and
any of its adapters is rebuilt; what is published for an update is 12 bytes a direction; es runs as any other learner.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from olal.adapters import read_seed_log
from olal.replay import read_episodes

SHORT = ("--updates", 5, "--workers", 2, "--set", "training.checkpoint_every=2", "--set", "evaluation.episodes=8")
MEZO = (
    "--env",
    "gridworld",
    "--learner",
    "mezo",
    "--set",
    "learner.steps=2",
    "--set",
    "learner.episodes_per_update=16",
)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def await_rows(path: Path, count: int, process) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} lines")


def test_a_killed_run_goes_on_with_its_log_and_every_version_is_rebuilt(start, olal, head, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert olal("launch", *MEZO, *SHORT, "--address", head, "--run-dir", whole).code == 0

    process = start("launch", *MEZO, *SHORT, "--address", head, "--run-dir", broken)
    await_rows(broken / "metrics.jsonl", 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with (broken / "seeds.log").open("ab") as log:
        log.write(b"torn")
    assert olal("resume", broken, "--address", head).code == 0

    assert (broken / "seeds.log").read_bytes() == (whole / "seeds.log").read_bytes()
    deltas = read_seed_log(broken / "seeds.log").deltas
    rows = metrics(broken)
    assert [delta.version for delta in deltas] == [row["version"] for row in rows] == [1, 2, 3, 4, 5]
    assert [delta.digest for delta in deltas] == [row["adapter_digest"] for row in rows]
    assert {row["extra"]["published_bytes"] for row in rows} == {12.0 * 32 + 48}
    assert {row["extra"]["adapter_mismatches"] for row in rows} == {0.0}
    assert [row["extra"]["adapter_snapshots"] for row in metrics(whole)] == [0.0] * 5  # all start untrained

    for version in (2, 3):
        out = tmp_path / f"v{version}"
        replayed = olal("replay", whole, "--version", version, "--out", out, "--json")
        assert json.loads(replayed.lines[0])["digest"] == deltas[version - 1].digest
    kept = whole / "checkpoints" / "step-00000002" / "adapter" / "adapter_model.safetensors"
    assert (tmp_path / "v2" / "adapter_model.safetensors").read_bytes() == kept.read_bytes()


def test_es_runs_as_any_other_learner(olal, head, tmp_path):
    run = tmp_path / "es"
    options = ("--env", "gridworld", "--learner", "es", "--set", "learner.episodes_per_update=32")

    assert olal("launch", *options, *SHORT, "--address", head, "--run-dir", run).code == 0

    first = [episode for episode in read_episodes(run / "episodes") if episode.task.episode_id < 32]
    assert len({episode.adapter_digest for episode in first}) == 16
    assert {row["extra"]["directions_used"] for row in metrics(run)} == {8.0}
    assert {row["extra"]["published_bytes"] for row in metrics(run)} <= {12.0 * 8 + 48, 48.0}
    assert olal("replay", run, "--version", 5, "--out", tmp_path / "out").code == 0


def test_stages_keep_one_log_and_replay_tells_what_is_in_it(olal, head, tmp_path):
    run, config = tmp_path / "staged", tmp_path / "stages.yaml"
    mezo = {"kind": "mezo", "steps": 1, "episodes_per_update": 8}
    learners = [mezo, {"kind": "grpo", "episodes_per_update": 8, "epochs": 1}, mezo | {"subspace": "core"}]
    config.write_text(json.dumps({"stages": [{"learner": learner, "updates": 1} for learner in learners]}))
    small = ("--env", "gridworld", "--workers", 1, "--set", "evaluation.episodes=4")

    result = olal("launch", config, *small, "--address", head, "--run-dir", run)

    assert result.code == 0, result.errors
    replayed = [
        olal("replay", run, "--version", version, "--out", tmp_path / f"{version}", "--json") for version in (1, 3)
    ]
    digests = [row["adapter_digest"] for row in metrics(run)]
    assert [json.loads(one.lines[0])["digest"] for one in replayed] == [digests[0], digests[2]]
    assert {row["extra"]["adapter_mismatches"] for row in metrics(run)} == {0.0}
    assert olal("replay", run, "--version", 2, "--out", tmp_path / "2", "--json").code == 0  # where the third starts
