"""A run whose worker has the vLLM engine, as a user starts it: it trains, its numbers agree with the learner's, and it
can be measured again on either engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from olal.metrics import read_jsonl


def olal(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    """The JSON records that `olal ARGUMENTS --json` writes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "olal", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two updates with one worker."""
    folder = tmp_path_factory.mktemp("launch")
    settings = ["--set", "learner.episodes_per_update=16", "--set", "evaluation.episodes=8"]
    records = olal(
        folder, "launch", "--env", "gridworld", "--engine", "vllm", "-n", 1, "--updates", 2, *settings, "--run-dir", "a"
    )
    assert records[-1]["event"] == "finished"
    return folder / "a"


def test_the_learner_finds_the_engines_probabilities(run: Path) -> None:
    gaps = [row["extra"]["max_logprob_gap"] for row in read_jsonl(run / "metrics.jsonl") if "extra" in row]

    assert len(gaps) == 2
    assert max(gaps) < 1e-4


def test_both_engines_measure_a_run_alike(run: Path) -> None:
    scores = [
        olal(run.parent, "evaluate", run, "--episodes", 16, "--engine", engine)[0]["score"]
        for engine in ("vllm", "transformers")
    ]

    assert scores[0] == pytest.approx(scores[1])
