"""Workers whose processes die whenever they start, on a pool whose calls all end at once.

Pinned: where nobody else is ready, the third such death in a row ends the run in one line that says where to look;
beside one that is ready it does not; one start that succeeds is a new beginning; a death is counted once, however Ray
tells of it.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from olal.actors import ProcessReport
from olal.errors import ProcessLost, ProcessRestarting, RunFailed, WorkerFailed
from olal.experiments import worker_pool
from olal.experiments.incidents import Incidents
from olal.experiments.worker_pool import WorkerPool


class Starts:
    """Makes actors that build as each one's script says.

    dies: the process dies, and Ray says what it says of an actor that it restarts: that it is unavailable
    lost: the process dies, and Ray says that it died
    fails: its engine fails, so the process is killed; it answers twice more before it is gone
    blinks: Ray says that the actor is unavailable, but its process lives
    ok: builds; as does every process beyond the script
    """

    def __init__(self, *scripts: str) -> None:
        self.scripts = [script.split() for script in scripts]
        self.processes = [0] * len(scripts)
        self.last_answers: dict[int, int] = {}
        self.builders: list[int] = []

    def spawn(self, index: int) -> SimpleNamespace:
        return SimpleNamespace(
            began=SimpleNamespace(remote=lambda: ("began", index, object())),
            ready=SimpleNamespace(remote=lambda: ("ready", index, object())),
        )

    def fetch(self, calls: list[tuple[str, int, object]]) -> list[ProcessReport]:
        (method, index, _), script = calls[0], self.scripts[calls[0][1]]
        what = script.pop(0) if script and method == "ready" else "ok"
        answer = [ProcessReport(self.processes[index], f"host:{index}.err")]
        if method == "ready":
            self.builders.append(self.processes[index])
        left = self.last_answers[index] = self.last_answers.get(index, 0) - 1
        self.processes[index] += what in ("dies", "lost") or left == 0
        if what == "fails":
            self.last_answers[index] = 2
        if what != "ok":
            raise {"lost": ProcessLost, "fails": WorkerFailed}.get(what, ProcessRestarting)(what)
        return answer


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    def pool_of(*scripts: str):
        starts = Starts(*scripts)
        monkeypatch.setattr(worker_pool, "fetch", starts.fetch)
        monkeypatch.setattr(worker_pool.ray, "wait", lambda refs, **_: (refs, []))
        monkeypatch.setattr(worker_pool.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(worker_pool.ray, "kill", lambda actor, **_: None)
        pool = WorkerPool(starts.spawn, Incidents(None, lambda line: None, lambda role: None, lambda name: None))
        pool.resize(len(scripts))
        pool.starts = starts
        return pool

    return pool_of


def play(pool: WorkerPool, rounds: int) -> None:
    for _ in range(rounds):
        pool.wait((), 0.0)


@pytest.mark.parametrize("script", ["dies dies dies", "lost lost lost", "dies lost dies"])
def test_the_third_death_at_the_start_ends_the_run(make, script: str) -> None:
    pool = make(script)
    with pytest.raises(RunFailed, match=r"rollout worker 0 dies whenever it starts: .*(lost|in host:0\.err)"):
        play(pool, 20)
    assert (pool.workers[0].failed_starts, pool.workers[0].restarts) == (3, 3)


def test_it_does_not_where_another_is_ready(make) -> None:
    pool = make("ok", "dies dies dies dies dies")
    play(pool, 30)
    assert (pool.num_ready, pool.workers[1].failed_starts, pool.workers[1].restarts) == (2, 0, 5)


@pytest.mark.parametrize("script", ["dies dies ok", "lost lost", "blinks dies blinks blinks lost blinks"])
def test_a_start_that_succeeds_is_a_new_beginning(make, script: str) -> None:
    pool = make(script)
    play(pool, 20)
    assert (pool.num_ready, pool.workers[0].failed_starts, pool.workers[0].restarts) == (1, 0, 2)


def test_a_process_that_is_only_out_of_reach_did_not_die(make) -> None:
    pool = make("blinks " * 9)
    play(pool, 30)
    assert (pool.num_ready, pool.workers[0].restarts) == (1, 0)


def test_a_process_that_was_killed_and_still_answers_is_not_asked_to_build(make) -> None:
    pool = make("fails ok")
    play(pool, 20)
    assert pool.starts.builders == [0, 1]
    assert (pool.num_ready, pool.workers[0].restarts) == (1, 1)
