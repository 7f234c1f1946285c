"""Workers whose processes die whenever they start, on a pool whose calls all end at once.

Pinned: where nobody else is ready, the third such death in a row ends the run in one line; beside one that is ready it
does not; one start that succeeds is a new beginning.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from olal.errors import ProcessLost, RunFailed
from olal.experiments import worker_pool
from olal.experiments.incidents import Incidents
from olal.experiments.worker_pool import WorkerPool


class Starts:
    """Makes actors whose starts end as each one's script says: "dies", or is ready."""

    def __init__(self, *scripts: str) -> None:
        self.scripts = [script.split() for script in scripts]
        self.processes = 0

    def spawn(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(ready=SimpleNamespace(remote=lambda: (index, len(self.scripts[index]))))

    def fetch(self, calls: list[tuple[int, int]]) -> list[int]:
        script = self.scripts[calls[0][0]]
        if (script.pop(0) if script else "ok") == "dies":
            raise ProcessLost("it was killed")
        self.processes += 1
        return [self.processes]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    def pool_of(*scripts: str) -> WorkerPool:
        starts = Starts(*scripts)
        monkeypatch.setattr(worker_pool, "fetch", starts.fetch)
        monkeypatch.setattr(worker_pool.ray, "wait", lambda refs, **_: (refs, []))
        pool = WorkerPool(starts.spawn, Incidents(None, lambda line: None, lambda role: None, lambda name: None))
        pool.resize(len(scripts))
        return pool

    return pool_of


def play(pool: WorkerPool, rounds: int) -> None:
    for _ in range(rounds):
        pool.wait((), 0.0)


def test_the_third_death_at_the_start_ends_the_run(make) -> None:
    pool = make("dies dies dies")
    play(pool, 2)
    with pytest.raises(RunFailed, match="rollout worker 0 dies whenever it starts: it was killed"):
        play(pool, 1)


def test_it_does_not_where_another_is_ready(make) -> None:
    pool = make("ok", "dies dies dies dies dies")
    play(pool, 5)
    assert (pool.num_ready, pool.workers[1].failed_starts) == (1, 5)


def test_a_start_that_succeeds_is_a_new_beginning(make) -> None:
    pool = make("dies dies ok")
    play(pool, 3)
    assert (pool.num_ready, pool.workers[0].failed_starts, pool.workers[0].restarts) == (1, 0, 2)
