"""Processes that die while a run goes on, on real Ray.

Pinned: a synchronous run whose workers, buffer and learner are killed ends with the adapter of one that was left alone,
bit for bit; an asynchronous one finishes; after either every episode has ended once and the books say so; what
happened is in events.jsonl; a killed driver's run goes on without an episode skipped or doubled.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from run_state import adapter_digest, await_all_pids, await_status, check_books, lines, pid_of, pids

CONFIG = Path(__file__).parents[2] / "configs" / "gridworld.yaml"
SMALL = ("--workers", 2, "--set", "training.checkpoint_every=3", "--set", "evaluation.episodes=8")


@pytest.mark.timeout(400)
def test_a_synchronous_run_whose_processes_are_killed_ends_as_one_left_alone(start, olal, head, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ("--address", head, "--updates", 18, *SMALL)
    assert olal("launch", CONFIG, *options, "--run-dir", whole).code == 0

    process = start("launch", CONFIG, *options, "--run-dir", broken)
    for version, role in ((1, "rollout"), (4, "learner"), (6, "replay"), (7, "rollout")):
        found = await_status(broken, process, lambda told, v=version: told["version"] >= v)
        os.kill(pid_of(found, role), signal.SIGKILL)
    _, errors = process.communicate(timeout=200)

    assert process.returncode == 0, errors
    assert adapter_digest(broken) == adapter_digest(whole)
    assert [row["version"] for row in lines(broken / "metrics.jsonl")] == list(range(1, 19))
    restarts = json.loads((broken / "status.json").read_text())["restarts"]
    assert {"learner": 1, "replay": 1}.items() <= restarts.items(), lines(broken / "events.jsonl")
    assert 1 <= restarts["rollout"] <= 2  # the last kill may come when nothing is left to play
    check_books(olal, broken, all_trained=True)


@pytest.mark.timeout(400)
def test_an_asynchronous_run_whose_processes_are_killed_finishes_with_its_books_balanced(start, olal, head, tmp_path):
    run = tmp_path / "async"
    process = start("launch", CONFIG, "--address", head, "--mode", "async", "--updates", 60, *SMALL, "--run-dir", run)
    for version, role in ((1, "rollout"), (5, "learner"), (8, "replay"), (14, "rollout")):
        found = await_status(run, process, lambda told, v=version: told["version"] >= v)
        os.kill(pid_of(found, role), signal.SIGKILL)
    _, errors = process.communicate(timeout=250)

    assert process.returncode == 0, errors
    rows = lines(run / "metrics.jsonl")
    assert [row["version"] for row in rows] == list(range(1, 61))
    assert max(row["staleness"] for row in rows) > 0
    check_books(olal, run, all_trained=False)


@pytest.mark.timeout(300)
def test_an_asynchronous_run_whose_driver_is_killed_goes_on_without_skipping_or_doubling(start, olal, head, tmp_path):
    run = tmp_path / "driver"
    process = start("launch", CONFIG, "--address", head, "--mode", "async", "--updates", 40, *SMALL, "--run-dir", run)
    await_status(run, process, lambda told: told["version"] >= 5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    assert told["state"] == "died"

    resumed = olal("resume", run, "--address", head)

    assert resumed.code == 0, resumed.errors
    check_books(olal, run, all_trained=False)
    assert [row["version"] for row in lines(run / "metrics.jsonl")] == list(range(1, 41))


def test_a_learner_that_dies_while_it_waits_is_missed_by_workers_that_come_later(start, olal, head, tmp_path):
    run = tmp_path / "idle-learner"
    process = start(
        "launch", CONFIG, "--address", head, "--mode", "async", "--updates", 10, *SMALL, "--run-dir", run,
        "--set", "learner.episodes_per_update=256", "--set", "learner.max_staleness=0",
        "--set", "training.checkpoint_every=1",
    )  # fmt: skip
    found = await_status(run, process, lambda told: told["version"] >= 1)
    os.kill(found["pids"]["learner"], signal.SIGKILL)
    for pid in pids(found):
        os.kill(pid, signal.SIGKILL)
    _, errors = process.communicate(timeout=200)

    assert process.returncode == 0, errors
    restarts = [event["actor"] for event in lines(run / "events.jsonl") if event["kind"] == "restart"]
    assert "learner" in restarts
    check_books(olal, run, all_trained=False)


@pytest.mark.timeout(300)
def test_workers_come_and_go_while_a_run_goes_on(start, olal, head, tmp_path):
    run = tmp_path / "elastic"
    process = start(
        "launch", CONFIG, "--address", head, "--mode", "async", "--updates", 100_000, "--run-dir", run,
        "--workers", 1, "--set", "rollout.num_cpus=0.5",
    )  # fmt: skip
    await_status(run, process, lambda told: told["version"] >= 1)

    grown = olal("scale", run, 3, "--wait", 150)
    assert grown.lines == ["3 rollout workers asked for, 3 ready"]
    leaving = next(row["pid"] for row in await_all_pids(run, process, 3)["workers"])
    os.kill(leaving, signal.SIGTERM)
    await_status(run, process, lambda told: leaving not in pids(told) and len(pids(told)) == 3)
    shrunk = olal("scale", run, 1, "--wait", 150)
    assert shrunk.lines == ["1 rollout workers asked for, 1 ready"]
    shown = "\n".join(olal("status", run).lines)
    assert "running" in shown
    assert "NOT BALANCED" not in shown

    second = olal("resume", run, "--address", head)
    assert second.code == 2
    assert "another process is running this run" in second.errors[-1]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [event for event in lines(run / "events.jsonl") if event["kind"] == "restart"]
