"""A cluster as the files of cluster/ start one: a head that takes no rollouts, a worker node, tokens, a dashboard.

Pinned: a command submitted as `ray submit` does it runs to its end inside a job and gives its exit code, whatever
characters it holds; a client that is killed takes nothing with it; a wrong token is told in seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SUBMIT = ROOT / "cluster" / "submit.py"
SHORT = ["--workers", "2", "--updates", "2", "--set", "evaluation.episodes=4"]


@pytest.fixture(scope="module")
def cluster_environment(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """As in the image: tokens on, and `python` is the one that has olal.

    Ray looks for the cluster of a job in a file of its temporary directory, which another cluster here would overwrite.
    """
    with tempfile.TemporaryDirectory(prefix="olal-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        yield environment | {"PATH": path, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": folder}


@pytest.fixture(scope="module")
def dashboard(cluster_environment, free_ports, tmp_path_factory) -> Iterator[str]:
    """URL of the dashboard; the port of the head is that of `head_address`."""
    ports = free_ports(5)
    common = ["--block", "--object-store-memory=100000000"]
    head = [
        "--head", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", f"--dashboard-port={ports[2]}",
        f"--dashboard-agent-listen-port={ports[3]}", "--dashboard-host=127.0.0.1", "--num-cpus=0",
        "--labels=olal/role=learner",
    ]  # fmt: skip
    worker = [f"--address=127.0.0.1:{ports[0]}", f"--dashboard-agent-listen-port={ports[4]}", "--num-cpus=2"]
    url, folder = f"http://127.0.0.1:{ports[2]}", tmp_path_factory.mktemp("cluster")
    processes = []
    try:
        for options in (head, worker):
            command = ["ray", "start", *options, *common]
            processes.append(
                subprocess.Popen(
                    command, cwd=folder, env=cluster_environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )  # fmt: skip
            await_answer(lambda: ask(f"{url}/api/version", cluster_environment["RAY_AUTH_TOKEN"]))
        yield url
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture
def submitted(cluster_environment, dashboard, tmp_path) -> Callable[..., subprocess.Popen[str]]:
    """Starts the command line that `ray submit` sends: joined without quotes, read by a shell."""

    def begin(*words: str) -> subprocess.Popen[str]:
        line = " ".join(["python", str(SUBMIT), "--address", dashboard, *words])
        return subprocess.Popen(
            ["bash", "-c", line], cwd=tmp_path, env=cluster_environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    return begin


def ask(url: str, token: str) -> Any:
    """What the dashboard answers; None while it does not."""
    question = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with contextlib.suppress(OSError), urllib.request.urlopen(question, timeout=5) as answer:
        return json.load(answer)
    return None


def await_answer(question: Callable[[], Any], timeout_s: float = 60) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.2)
    raise AssertionError("no answer in time")


def packed(*command: str) -> str:
    done = subprocess.run([sys.executable, SUBMIT, "--pack", *command], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.timeout(200)
def test_a_submitted_command_runs_on_the_cluster_of_its_job_with_its_arguments_whole(submitted, tmp_path):
    run = tmp_path / "a run"
    command = [str(ROOT / "configs" / "gridworld.yaml"), *SHORT, "--set", "env.options.goal=[2, 3]"]

    process = submitted("--packed", packed("launch", *command, "--run-dir", str(run)))
    output, _ = process.communicate(timeout=150)

    assert process.returncode == 0, output
    assert yaml.safe_load((run / "config.yaml").read_text())["env"]["options"]["goal"] == [2, 3]
    assert "version 2/2" in output
    assert output.count("loading models") == 1


@pytest.mark.timeout(200)
def test_a_client_that_is_killed_leaves_its_job_running_to_the_end(submitted, dashboard, environment, tmp_path):
    run = tmp_path / "orphan"
    process = submitted("launch", str(ROOT / "configs" / "gridworld.yaml"), *SHORT, "--run-dir", str(run))
    job = re.search(r"submit: job (\S+):", process.stdout.readline())[1]
    await_answer((run / "config.yaml").exists)

    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    def ended() -> dict[str, Any] | None:
        answer = ask(f"{dashboard}/api/jobs/{job}", environment["RAY_AUTH_TOKEN"])
        return answer if answer and answer["status"] in ("SUCCEEDED", "FAILED", "STOPPED") else None

    answer = await_answer(ended, 150)
    assert (answer["status"], answer["driver_exit_code"]) == ("SUCCEEDED", 0)
    assert (run / "evaluation.json").is_file()


def test_a_command_that_is_refused_ends_with_its_own_exit_code(submitted):
    process = submitted("launch", "--set", "learner.learning_rat=1")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "did you mean learner.learning_rate?" in output


def test_a_wrong_token_is_told_in_seconds(olal, head, monkeypatch, environment, tmp_path):
    monkeypatch.setitem(environment, "RAY_AUTH_TOKEN", "f" * 32)

    result = olal("launch", "--address", head, "--run-dir", tmp_path / "stranger")

    assert result.code == 3
    assert result.seconds < 15
    assert len(result.errors) == 1
    assert result.errors[0].startswith("error: the cluster does not take this token; ")
    assert not (tmp_path / "stranger").exists()
