"""How a batch comes to its end whoever dies, on a pool whose calls end as the test says.

Pinned: a share is played again by the same worker, and given up at the third death with it in hand; a death that Ray
tells of twice counts once; who dies whenever it starts hands its share on.
"""

from __future__ import annotations

import time
from types import SimpleNamespace

from olal.errors import ProcessLost
from olal.experiments.share_players import deal, play_shares
from olal.experiments.worker_pool import MOST_FAILED_STARTS, Answer, Worker
from olal.types import EpisodeTask

TASKS = [EpisodeTask(number, number) for number in range(6)]
LOST = ProcessLost("it was killed")


class ScriptedPool:
    """Workers whose calls end one a wait, as their scripts say; "ok" for whoever has none left."""

    def __init__(self, *scripts: str) -> None:
        self.workers = [Worker(index, None, state="ready") for index in range(len(scripts))]
        self.scripts = {id(one): script.split() for one, script in zip(self.workers, scripts, strict=True)}
        self.played: list[tuple[int, list[int]]] = []

    @property
    def num_ready(self) -> int:
        return sum(worker.state == "ready" for worker in self.workers)

    def settle(self) -> None: ...

    def await_ready(self, timeout_s, stop) -> None: ...

    def restart_silent(self, limit_s) -> list[Answer]:
        return []

    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.call is None]

    def call(self, worker, method, tasks, *arguments, **options) -> None:
        worker.call, worker.tasks = method, {task.episode_id: task for task in tasks}

    def wait(self, others, timeout_s) -> tuple[list[Answer], list]:
        answers = []
        for worker in self.workers:
            if worker.call is None and worker.state == "ready":
                continue
            script = self.scripts[id(worker)]
            word = script.pop(0) if script else "ok"
            lost, worker.call = tuple(worker.tasks.values()), None
            if word == "dies":
                worker.failed_starts += worker.state == "starting"
                worker.state, worker.tasks, worker.since = "starting", {}, time.monotonic()
                answers.append(Answer(worker, "died", None, lost, LOST))
            elif worker.state == "starting":
                worker.state, worker.failed_starts = "ready", 0
                answers.append(Answer(worker, "ready"))
            else:
                numbers = [task.episode_id for task in lost]
                self.played.append((worker.index, numbers))
                worker.tasks = {}
                answers.append(Answer(worker, "done", SimpleNamespace(numbers=numbers)))
        return answers, []


def play(pool: ScriptedPool) -> tuple[list[list[int]], list[int]]:
    """What came back, share by share, and which episodes were given up."""
    given_up: list[int] = []
    results = play_shares(pool, TASKS, "rollout", (), lambda: False, given_up.extend, 9.0)  # pyright: ignore[reportArgumentType]
    return [result.numbers for result in results], given_up


def test_every_worker_plays_one_share_and_they_come_back_in_order() -> None:
    assert [len(share) for share in deal(TASKS, 4)] == [2, 1, 1, 2]
    assert play(ScriptedPool("", "")) == ([[0, 1, 2], [3, 4, 5]], [])


def test_a_share_is_played_again_by_the_same_worker() -> None:
    pool = ScriptedPool("dies ok dies", "")
    assert play(pool) == ([[0, 1, 2], [3, 4, 5]], [])
    assert pool.played == [(1, [3, 4, 5]), (0, [0, 1, 2])]


def test_the_third_death_with_a_share_in_hand_is_its_last() -> None:
    assert play(ScriptedPool("dies ok dies ok dies ok", "")) == ([[3, 4, 5]], [0, 1, 2])


def test_deaths_while_a_process_starts_do_not_count() -> None:
    assert play(ScriptedPool("dies dies ok dies dies ok", "")) == ([[0, 1, 2], [3, 4, 5]], [])


def test_who_dies_whenever_it_starts_hands_its_share_to_another() -> None:
    pool = ScriptedPool(" ".join(["dies"] * (MOST_FAILED_STARTS + 9)), "")
    assert play(pool) == ([[0, 1, 2], [3, 4, 5]], [])
    assert pool.played == [(1, [3, 4, 5]), (1, [0, 1, 2])]
