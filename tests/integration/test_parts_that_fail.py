"""Environments, engines and disks that fail while a run goes on, and commands in each other's way, on real Ray.

Pinned: a run outlives what a part of it does wrong, tells it, ends with every episode accounted for once and leaves no
process behind; what cannot be outlived ends the run with one line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from run_state import await_status, check_books, lines, status

from olal.replay import read_episodes

TINY = (
    "--updates", 4, "--workers", 1, "--set", "learner.episodes_per_update=16", "--set", "evaluation.episodes=4",
    "--set", "rollout.num_cpus=0.5", "--set", "training.checkpoint_every=1",
)  # fmt: skip
GRID = ("--env", "gridworld", *TINY)

HOSTILE = """
    import os, time
    import gymnasium
    from gymnasium import spaces

    class Hostile(gymnasium.Env):
        action_space, observation_space = spaces.Discrete(3), spaces.Discrete(31)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.fault, self.hour = int(self.np_random.integers(20)), 0
            return 0, {}

        def step(self, action):
            self.hour += 1
            reward = {0: float("nan"), 1: float("inf"), 2: "much", 3: None}.get(self.fault, 1.0)
            if self.fault == 4:
                time.sleep(600)
            if self.fault == 5:
                raise RuntimeError("the coin rolled under the table")
            if self.fault == 6:
                return self.hour, reward
            return (31 if self.fault == 7 else self.hour), reward, self.hour == 2, False, {}

    class Deadly(Hostile):
        def __init__(self, seeds):
            self.seeds = seeds

        def reset(self, *, seed=None, options=None):
            if seed in self.seeds:
                os._exit(1)
            super().reset(seed=seed)
            self.fault = 20
            return 0, {}
"""

FAULTY = """
    import os, sys
    from dataclasses import replace
    from functools import partial
    from pathlib import Path

    import torch

    from olal.cli import main
    from olal.experiments import crew

    FAULT, NOTE = os.environ["FAULT"], Path("told").absolute()

    def end(words):
        print(words, file=sys.stderr, flush=True)
        os._exit(1)

    def worker(make, fault, index):
        if fault == "no worker":
            end("the model does not fit")
        made = make(index)
        engine, step, load = made._engine, made._engine.step, made._engine.load_adapter
        steps = iter(range(10**9))

        def fail_once():
            if next(steps) == 20 and not NOTE.exists():
                NOTE.touch()
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            return step()

        def load_nothing(update, *, is_current=True):
            load(update, is_current=is_current)
            if not update.version:
                NOTE.touch()  # to load an adapter anew begins with the untrained one
            if update.version and (fault == "deaf" or not NOTE.exists()):
                untrained = torch.from_numpy(engine._adapters._bank.initial.copy())
                object.__setattr__(engine._adapters.resolve(update.digest), "flat", untrained)

        if fault == "engine":
            engine.step = fail_once
        if fault in ("deaf", "deaf once"):
            engine.load_adapter = load_nothing
        return made

    def learner(make, fault):
        if fault == "no learner":
            end("the model does not fit")
        made = make()
        if fault == "learner":
            update = made[0].update
            made[0].update = lambda given: os._exit(1) if NOTE.exists() else (NOTE.touch(), update(given))[1]
        return made

    of = crew.Parts.of

    def faulty(config, run):
        parts = of(config, run)
        made = partial(worker, parts.worker, FAULT), partial(learner, parts.learner, FAULT)
        return replace(parts, worker=made[0], learner=made[1])

    crew.Parts.of = faulty
    sys.argv[0] = "olal"
    main()
"""


@pytest.fixture
def hostile(tmp_path) -> None:
    (tmp_path / "hostile.py").write_text(textwrap.dedent(HOSTILE))


@pytest.fixture
def launch_faulty(environment, tmp_path):
    """Runs `olal launch ARGUMENTS` with one part that has a fault; returns the finished process."""
    (tmp_path / "faulty.py").write_text(textwrap.dedent(FAULTY))

    def run(fault: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "faulty.py", "launch", *map(str, arguments)]
        given = environment | {"FAULT": fault}
        return subprocess.run(
            command, cwd=tmp_path, env=given, text=True, capture_output=True, timeout=280, check=False
        )

    return run


def check_nobody_left(run: Path) -> None:
    """None of the processes that the run last had is there any more."""
    told = status(run)
    pids = {*told["pids"].values(), *(row["pid"] for row in told["workers"] if row["pid"])}
    deadline = time.monotonic() + 20
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


def kinds(run: Path) -> list[str]:
    return [event["kind"] for event in lines(run / "events.jsonl")]


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_environment_that_fails_in_every_way_costs_its_own_episodes_alone(mode, olal, head, tmp_path):
    run = tmp_path / f"hostile-{mode}"
    given = ("--env", "python:hostile:Hostile", "--mode", mode, "--set", "rollout.step_timeout_s=1")
    result = olal(
        "launch", *given, "--address", head, *TINY, "--run-dir", run, "--set", "learner.episodes_per_update=32"
    )

    assert result.code == 0, result.errors
    reasons = {episode.reason for episode in read_episodes(run / "episodes") if episode.error}
    assert {"env_raised", "env_timeout", "bad_reward", "bad_step", "bad_observation"} <= reasons
    assert "episodes_fail" in kinds(run)
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    assert told["dropped"]["failed"] > 0
    check_books(olal, run, all_trained=False)
    check_nobody_left(run)


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize(("mode", "lost", "deaths"), [("sync", 16, 3), ("async", 1, 7)])
def test_an_episode_that_kills_its_worker_is_given_up_in_the_end(mode, lost, deaths, olal, head, tmp_path):
    from olal.experiments.seeds import training_tasks

    run, seed = tmp_path / f"deadly-{mode}", training_tasks(0, 3, 1)[0].seed
    given = ("--env", "python:hostile:Deadly", "--set", f"env.options.seeds=[{seed}]", "--mode", mode)
    result = olal("launch", *given, "--address", head, *TINY, "--run-dir", run, timeout_s=280)

    assert result.code == 0, result.errors
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    assert told["dropped"]["killed_workers"] == lost
    assert told["restarts"]["rollout"] == deaths
    assert "killed_workers" in kinds(run)
    check_books(olal, run, all_trained=False)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_engine_that_fails_is_replaced_and_its_episodes_are_played_again(mode, launch_faulty, olal, head, tmp_path):
    run = tmp_path / f"engine-{mode}"
    ended = launch_faulty("engine", *GRID, "--mode", mode, "--address", head, "--run-dir", run)

    assert ended.returncode == 0, ended.stderr
    first, *others = [event for event in lines(run / "events.jsonl") if event["kind"] == "restart"]
    assert "illegal memory access" in first["line"]
    assert all("actor was restarted" in event["line"] for event in others)  # Ray may tell of the same restart again
    check_books(olal, run, all_trained=mode == "sync")
    check_nobody_left(run)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_engine_that_did_not_take_an_adapter_is_believed_once_it_has(mode, launch_faulty, olal, head, tmp_path):
    run = tmp_path / f"deaf-{mode}"
    ended = launch_faulty(
        "deaf once", *GRID, "--mode", mode, "--set", "learner.max_staleness=1", "--address", head, "--run-dir", run
    )

    assert ended.returncode == 0, ended.stderr
    assert kinds(run) == ["stale"]
    if mode == "sync":
        assert max(row["extra"]["max_logprob_gap"] for row in lines(run / "metrics.jsonl")) < 1e-3
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    assert told["refused"] > 0
    check_books(olal, run, all_trained=mode == "sync")


@pytest.mark.parametrize("mode", ["async"])
def test_an_engine_that_never_takes_an_adapter_ends_the_run_in_one_line(mode, launch_faulty, head, tmp_path):
    run = tmp_path / f"deaf-{mode}"
    ended = launch_faulty("deaf", *GRID, "--mode", mode, "--updates", 40, "--address", head, "--run-dir", run)

    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "engine and learner do not compute alike" in line
    acted = {episode.adapter_version for episode in read_episodes(run / "episodes")}
    assert acted == {0}
    check_nobody_left(run)


def test_a_learner_that_dies_at_every_update_is_given_up_in_one_line(launch_faulty, head, tmp_path):
    run = tmp_path / "learner"
    ended = launch_faulty("learner", *GRID, "--mode", "async", "--address", head, "--run-dir", run)

    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "the learner died 5 times in a row without an update" in line
    assert f"olal resume {run}" in line
    assert kinds(run).count("restart") == 5
    assert [row["version"] for row in lines(run / "metrics.jsonl")] == [1]
    check_nobody_left(run)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_worker_that_dies_whenever_it_starts_ends_the_run_and_tells_where_its_last_words_are(
    mode, launch_faulty, head, tmp_path
):
    run = tmp_path / f"unborn-{mode}"
    ended = launch_faulty("no worker", *GRID, "--mode", mode, "--address", head, "--run-dir", run)

    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "rollout worker 0 dies whenever it starts" in line
    assert "the model does not fit" in Path(line.rpartition(":")[2]).read_text()
    assert ended.stdout.count("rollout-0 died and is started again") == 3


def test_a_learner_that_dies_whenever_it_starts_ends_the_run_in_one_line(launch_faulty, head, tmp_path):
    ended = launch_faulty("no learner", *GRID, "--address", head, "--run-dir", tmp_path / "unborn")

    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "the learner dies whenever it starts" in line


def test_of_two_commands_for_one_run_the_second_is_refused_and_the_first_goes_on(start, olal, head, tmp_path):
    run = tmp_path / "contested"
    rivals = [start("launch", *GRID, "--updates", 40, "--address", head, "--run-dir", run) for _ in range(2)]
    while all(process.poll() is None for process in rivals):
        time.sleep(0.1)
    loser, winner = sorted(rivals, key=lambda process: process.poll() is None)
    assert loser.returncode == 2
    [line] = loser.communicate()[1].splitlines()
    assert "--run-dir" in line
    await_status(run, winner, lambda told: told["version"] >= 0)
    refused = olal("resume", run, "--address", head)
    assert (refused.code, len(refused.errors)) == (2, 1)
    assert "another process is running this run" in refused.errors[0]

    _, errors = winner.communicate(timeout=280)
    assert winner.returncode == 0, errors
    check_books(olal, run, all_trained=True)
    check_nobody_left(run)


@pytest.fixture
def small_disk(tmp_path):
    """A directory on a file system of its own that holds 32 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", path], check=False).returncode
    ):
        pytest.skip("only root may mount a file system")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            return ballast


def test_a_run_outlives_a_full_disk_and_writes_again_once_there_is_room(start, olal, head, small_disk):
    run = small_disk / "full"
    process = start("launch", *GRID, "--address", head, "--updates", 100, "--run-dir", run)
    await_status(run, process, lambda told: told["version"] >= 1)
    ballast = fill(small_disk)
    out, needed = "", {"checkpoint_failed", "episodes_not_written", "metrics_not_written"}
    while needed:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        out += line
        needed = {alarm for alarm in needed if f"ALARM {alarm}" not in out}
    ballast.unlink()
    _, errors = process.communicate(timeout=280)

    assert process.returncode == 0, errors
    assert [row["version"] for row in lines(run / "metrics.jsonl")] == list(range(1, 101))
    assert (run / "checkpoints" / "step-00000100" / "COMMIT").is_file()
    assert "checkpoint_failed" in kinds(run)
    check_books(olal, run, all_trained=True)


def test_a_seed_log_on_a_full_disk_ends_the_run_in_one_line_and_it_can_be_resumed(start, olal, head, small_disk):
    run = small_disk / "seeds"
    mezo = (*GRID, "--learner", "mezo", "--set", "learner.steps=1", "--updates", 120)
    process = start("launch", *mezo, "--address", head, "--run-dir", run)
    await_status(run, process, lambda told: told["version"] >= 1)
    ballast = fill(small_disk)
    _, errors = process.communicate(timeout=280)
    ballast.unlink()

    assert process.returncode == 1
    [line] = errors.splitlines()
    assert "cannot be published before its seeds are written" in line
    assert olal("resume", run, "--address", head, timeout_s=280).code == 0
    check_books(olal, run, all_trained=True)
