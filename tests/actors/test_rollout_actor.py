"""Pinned, with a real buffer in a process of its own: episodes go on while a report travels, are told of and delivered
once, and count for nothing where the policy has changed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from olal.actors import ReplayActor, RolloutActor, RolloutReport
from olal.adapters import Publication
from olal.config import load_config
from olal.experiments.build import build_worker
from olal.experiments.build_replay import build_replay
from olal.types import EpisodeTask, SamplingParams

SAMPLING = SamplingParams(1.0, 16)
CONFIG = load_config([], {"mode": "async"})


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


class Caller:
    """Calls a rollout actor as the driver does."""

    def __init__(self, directory: Path) -> None:
        (directory / "episodes").mkdir()
        remote: Any = ray.remote(num_cpus=0)(ReplayActor)
        self.replay = remote.remote(partial(build_replay, CONFIG, directory))
        self.actor = RolloutActor(partial(build_worker, CONFIG, 0), lambda: self.replay)
        self.actor.ready()
        self.publication = Publication(self.actor._worker.proof, ())
        ray.get(self.replay.expect.remote(self.publication.proof))

    def work(self, first: int, count: int, epoch: int = 0, for_s: float = 0.0) -> RolloutReport:
        tasks = [EpisodeTask(number, seed=number) for number in range(first, first + count)]
        return self.actor.work(tasks, SAMPLING, self.publication, epoch, for_s=for_s)

    def wait_until_all_have_ended(self) -> None:
        deadline = time.monotonic() + 60.0
        while self.actor._worker.stream.in_flight:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def caller(local_ray: None, tmp_path: Path) -> Caller:
    return Caller(tmp_path)


def test_episodes_end_between_two_calls_and_are_told_of_and_delivered_once(caller: Caller) -> None:
    reports = [caller.work(0, 6)]
    assert len(reports[0].outcomes) < 6, "too fast to show anything"
    assert sorted(reports[0].holding) == list(range(6))
    caller.wait_until_all_have_ended()
    reports += [caller.work(6, 0)]
    assert sum(len(report.outcomes) for report in reports) == 6
    deadline = time.monotonic() + 60.0
    while reports[-1].holding:
        assert time.monotonic() < deadline
        reports.append(caller.work(6, 0, for_s=0.1))

    assert sorted(number for report in reports for receipt in report.receipts for number in receipt.taken) == [
        *range(6)
    ]
    assert ray.get(caller.replay.status.remote()).episodes == 6


def test_what_ended_between_two_calls_of_two_policies_counts_for_nothing(caller: Caller) -> None:
    caller.work(0, 6)
    caller.wait_until_all_have_ended()
    ray.get(caller.replay.rewind.remote(0, 2**62, 1))

    report = caller.work(6, 0, epoch=1)

    assert report.outcomes == ()
    assert report.holding == ()


def test_an_evaluation_ends_what_goes_on_in_the_background(caller: Caller) -> None:
    caller.work(0, 1500)
    time.sleep(0.3)
    tasks = [EpisodeTask(2000 + number, seed=number) for number in range(3)]

    assert len(caller.actor.evaluate(tasks, SAMPLING, caller.publication)) == 3
    report = caller.work(1500, 0)
    assert report.outcomes == ()
    assert report.holding == ()


def test_a_process_that_was_started_anew_delivers_though_nobody_asked_whether_it_is_ready(caller: Caller) -> None:
    fresh = RolloutActor(partial(build_worker, CONFIG, 0), lambda: caller.replay)
    tasks = [EpisodeTask(number, seed=number) for number in range(3)]

    report = fresh.rollout(tasks, SAMPLING, caller.publication, 0)

    assert [number for receipt in report.receipts for number in receipt.taken] == [0, 1, 2]
    assert report.holding == ()


def test_time_is_either_played_or_idle(caller: Caller) -> None:
    caller.work(0, 1, for_s=5.0)
    began = time.monotonic()
    time.sleep(0.4)
    idle = caller.work(1, 0)
    started = caller.work(1, 1500)
    time.sleep(0.3)
    busy = caller.work(1501, 0)
    passed_s = time.monotonic() - began

    assert idle.idle_s > 0.35
    assert busy.duration_s > 0.25
    assert sum(one.duration_s + one.idle_s for one in (idle, started, busy)) <= passed_s
