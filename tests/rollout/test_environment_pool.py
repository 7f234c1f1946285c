"""Pinned: an environment is made, played and closed on one thread; cheap ones share it, slow ones run side by side; the
others of a thread that hangs go on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from olal.rollout.deadlines import Deadlines
from olal.rollout.environment_pool import EnvironmentPool
from olal.rollout.episode import Episode, Seen
from olal.types import EpisodeTask, Failure, TimeStep


class Threaded:
    """Keeps account of the threads that it was called on."""

    instructions, max_turns = "Go on.", 100

    def __init__(self, wait: Callable[[int], object]) -> None:
        self.threads, self._wait = [threading.get_ident()], wait

    def reset(self, seed: int) -> TimeStep:
        return self._step(seed)

    def action_grammar(self) -> Any:
        return self

    def parse(self, text: str) -> int:
        return int(text)

    def step(self, action: int) -> TimeStep:
        return self._step(action)

    def close(self) -> None:
        self.threads.append(threading.get_ident())

    def _step(self, number: int) -> TimeStep:
        self.threads.append(threading.get_ident())
        self._wait(number)
        return TimeStep("here")


class Pool:
    """A pool and what it made."""

    def __init__(self, wait: Callable[[int], object] = lambda number: None, step_s: float = 30.0) -> None:
        self.envs: list[Threaded] = []
        self.pool = EnvironmentPool(lambda: self._make(wait), Deadlines(step_s=step_s), time.monotonic)
        self.pool.open(lambda env: None)

    def _make(self, wait: Callable[[int], object]) -> Any:
        self.envs.append(Threaded(wait))
        return self.envs[-1]

    def start(self, *seeds: int) -> list[Episode]:
        episodes = [Episode(EpisodeTask(seed, seed), 0, "", 0.0) for seed in seeds]
        for episode in episodes:
            self.pool.start(episode)
        return episodes

    def settle(self) -> dict[int, Seen | Failure]:
        found: dict[int, Seen | Failure] = {}
        while self.pool.num_at_work:
            found.update({episode.task.seed: seen for episode, seen in self.pool.wait(1.0)})
        return found


@pytest.mark.parametrize("delay_s", [0.0, 0.005])
def test_an_environment_stays_on_its_thread(delay_s: float) -> None:
    on = Pool(lambda number: time.sleep(delay_s))
    on.start(0)
    on.settle()
    episodes = on.start(1, 2, 3, 4)
    on.settle()
    for episode in episodes:
        on.pool.act(episode, on.envs[0], "5")  # any grammar will do
    on.settle()
    on.pool.close()

    assert all(len(set(env.threads)) == 1 for env in on.envs)
    assert threading.get_ident() not in on.envs[0].threads
    assert len({env.threads[0] for env in on.envs}) == (1 if delay_s == 0.0 else len(on.envs))


def test_slow_environments_run_side_by_side() -> None:
    on = Pool(lambda number: time.sleep(0.2))
    on.start(0)
    on.settle()

    started = time.monotonic()
    on.start(*range(1, 11))
    on.settle()

    assert on.pool.is_slow
    assert time.monotonic() - started < 1.5
    on.pool.close()


def test_the_others_of_a_thread_that_hangs_go_on() -> None:
    release = threading.Event()
    on = Pool(lambda number: release.wait() if number == 3 else None, step_s=0.3)
    on.start(0)
    on.settle()

    on.start(1, 2, 3, 4, 5)
    found = on.settle()

    assert {seed for seed, seen in found.items() if isinstance(seen, Seen)} == {1, 2, 4, 5}
    assert found[3].reason == "env_timeout"
    assert on.pool.num_abandoned == 1
    release.set()
    on.pool.close()


def test_an_environment_that_comes_back_too_late_is_closed() -> None:
    release, closed = threading.Event(), threading.Event()
    on = Pool(lambda number: release.wait(), step_s=0.1)
    on.envs[0].close = closed.set
    on.start(0)
    on.settle()

    release.set()

    assert closed.wait(5.0)
