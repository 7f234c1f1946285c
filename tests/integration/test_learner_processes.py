"""A run whose learner is two processes, as a user starts it.

Pinned: `learner.num_processes=2` gives the adapter of one process to 1e-5, and a seed log that replays to the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

CONFIG = Path(__file__).parents[2] / "configs" / "gridworld.yaml"
SHORT = ("--updates", 1, "--workers", 1, "--set", "learner.kind=mezo", "--set", "evaluation.episodes=4", "--json")


def adapter_of(run: Path) -> dict[str, np.ndarray]:
    [path] = (run / "checkpoints" / "step-00000001").rglob("adapter_model.safetensors")
    return load_file(path)


def test_a_learner_of_two_processes_learns_what_one_learns(olal, tmp_path):
    runs = {size: tmp_path / str(size) for size in (1, 2)}
    for size, run in runs.items():
        result = olal("launch", CONFIG, *SHORT, "--set", f"learner.num_processes={size}", "--run-dir", run)
        assert result.code == 0, result.errors

    alone, together = (adapter_of(run) for run in runs.values())
    assert alone.keys() == together.keys()
    assert all(np.abs(alone[name] - together[name]).max() < 1e-5 for name in alone)
    assert max(np.abs(matrix).max() for name, matrix in together.items() if "lora_B" in name) > 1e-3
    assert olal("replay", runs[2], "--version", 1, "--out", tmp_path / "out").code == 0
