"""What the scripts of cluster/ call, seen through stand-ins for `olal`, `srun`, `scontrol` and `ray`.

Pinned: a job that starts again resumes where a checkpoint is complete, and moves aside what has none; SLURM's script
starts Ray on every node with a token and hands the run's arguments over unchanged.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "cluster"


@pytest.fixture
def call(tmp_path):
    """Runs a script in an empty directory whose PATH begins with stand-ins that print how they were called."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    says = {
        "olal": 'printf "olal"; printf " <%s>" "$@"; echo',
        "ray": 'printf "ray %s" "$RAY_AUTH_MODE"; printf " <%s>" "$@"; echo',
        "srun": 'shift; exec "$@"',
        "scontrol": "printf 'node-a\\nnode-b\\n'",
    }
    for name, line in says.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    (folder / "activate").write_text("")
    shutil.copytree(CLUSTER, tmp_path / "cluster", ignore=shutil.ignore_patterns("monitoring"))

    def run(script: str, *arguments: str, **environment: str) -> list[str]:
        environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
        command = ["bash", f"cluster/{script}", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environ | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_a_run_that_is_not_there_is_launched(call):
    lines = call("launch_or_resume.sh", "runs/a", "configs/x.yaml", "--set", "env.options.goal=[2, 3]")
    assert lines == ["olal <launch> <configs/x.yaml> <--set> <env.options.goal=[2, 3]> <--run-dir> <runs/a>"]


def test_a_run_with_a_complete_checkpoint_is_resumed(call, tmp_path):
    (tmp_path / "runs/a/checkpoints/step-00000010").mkdir(parents=True)
    (tmp_path / "runs/a/checkpoints/step-00000010/COMMIT").touch()
    assert call("launch_or_resume.sh", "runs/a", "configs/x.yaml") == ["olal <resume> <runs/a>"]


def test_a_run_without_one_is_moved_aside_and_launched_anew(call, tmp_path):
    (tmp_path / "runs/a/checkpoints/step-00000010").mkdir(parents=True)
    assert call("launch_or_resume.sh", "runs/a") == ["olal <launch> <--run-dir> <runs/a>"]
    [moved] = (tmp_path / "runs").iterdir()
    assert moved.name.startswith("a.")


def test_slurm_starts_ray_alike_on_every_node_with_a_token_and_keeps_arguments_whole(call):
    job = {"SLURM_JOB_ID": "41234", "SLURM_JOB_NUM_NODES": "17", "SLURM_CPUS_PER_TASK": "8"}
    [start] = call("slurm.sbatch", "runs/lake", "a b.yaml", SLURM_JOB_NODELIST="node-[a-b]", **job)
    assert start.startswith("ray token <symmetric-run> <--address> <node-a:21234> <--min-nodes> <17> <--num-cpus=8> ")
    assert "<--dashboard-host=127.0.0.1>" in start
    assert "<--> <cluster/launch_or_resume.sh> <runs/lake> <a b.yaml> <--workers> <16> " in start


def test_slurm_has_one_more_node_than_workers_and_one_gpu_on_each():
    text = (CLUSTER / "slurm.sbatch").read_text(encoding="utf-8")
    options = dict(
        line.removeprefix("#SBATCH --").partition("=")[::2] for line in text.splitlines() if "#SBATCH" in line
    )
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == ("17", "1", "1")
    assert {"exclusive", "requeue"} <= options.keys()
