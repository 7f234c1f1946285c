"""play_shares: one batch of episodes, dealt out to all workers and played to its end, whoever dies on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from olal.actors import RolloutReport
from olal.experiments.worker_pool import MOST_FAILED_STARTS, Answer, Worker, WorkerPool, note_refusal
from olal.types import EpisodeTask

MOST_DEATHS = 3
"""Processes that one share, or one episode, may take down before it is given up."""
_PATIENCE_S, _START_S = 60.0, 300.0


class Stopped(Exception):
    """The user asked the run to stop before the batch was played."""


@dataclass(eq=False, slots=True)
class _Share:
    tasks: list[EpisodeTask]
    player: Worker
    deaths: int = 0
    is_over: bool = False
    result: Any = None


def play_shares(
    pool: WorkerPool,
    tasks: Sequence[EpisodeTask],
    method: str,
    arguments: Sequence[Any],
    stop: Callable[[], bool],
    give_up: Callable[[Sequence[int]], None],
    limit_s: float,
) -> list[Any]:
    """Let every worker play one contiguous, equal share.

    A share is played again, by the same worker, where its process died: the same share by the same number of workers
    gives the same episodes bit for bit. One that takes down process after process is given up; deaths of a process that
    was still starting do not count. Where a worker finds no place to start again for a minute, or dies whenever it
    starts, another plays its share.

    Args:
        pool: the workers.
        tasks: all episodes.
        method: of the actor, which takes its tasks first.
        arguments: what it takes after them.
        stop: asked again and again; once it is true the batch is left as it is.
        give_up: is told the ids of a share that is given up.
        limit_s: seconds after which a worker that has not played its share is taken for dead.

    Returns:
        What the method returned, in the order of the shares.

    Raises:
        Stopped: `stop` said so.
        RunFailed: a worker cannot prove the adapter that it was given, or not start, whatever is tried.
    """
    pool.settle()
    began = time.monotonic()
    pool.await_ready(_START_S, lambda: stop() or (pool.num_ready > 0 and time.monotonic() - began > _PATIENCE_S))
    players = [worker for worker in pool.workers if worker.state == "ready"]
    shares = [_Share(part, player) for part, player in zip(deal(tasks, len(players)), players, strict=True)]
    while not all(share.is_over for share in shares):
        if stop():
            raise Stopped
        _call(pool, shares, method, arguments, give_up)
        answers, _ = pool.wait((), 0.2)
        for answer in [*answers, *pool.restart_silent(limit_s)]:
            for share in shares:
                if share.player is answer.worker and not share.is_over:
                    _take(pool, share, answer)
    return [share.result for share in shares if share.result is not None]


def deal(tasks: Sequence[EpisodeTask], workers: int) -> list[list[EpisodeTask]]:
    """Deal tasks out in contiguous, equal shares: always the same worker for the same task."""
    bounds = [round(len(tasks) * i / workers) for i in range(workers + 1)]
    return [list(tasks[start:stop]) for start, stop in pairwise(bounds)]


def _call(
    pool: WorkerPool,
    shares: Sequence[_Share],
    method: str,
    arguments: Sequence[Any],
    give_up: Callable[[Sequence[int]], None],
) -> None:
    """Begin what can begin."""
    for share in shares:
        player = share.player
        if share.is_over or (player.call is not None and player.state == "ready"):
            continue
        if share.deaths >= MOST_DEATHS:
            give_up([task.episode_id for task in share.tasks])
            share.is_over = True
        elif player.state == "ready":
            pool.call(player, method, share.tasks, *arguments, anew=player.must_reload)
            player.must_reload = False
        elif player.failed_starts > MOST_FAILED_STARTS or time.monotonic() - player.since > _PATIENCE_S:
            busy = {other.player for other in shares if not other.is_over}
            free = [worker for worker in pool.idle() if worker.state == "ready" and worker not in busy]
            share.player = free[0] if free else player


def _take(pool: WorkerPool, share: _Share, answer: Answer) -> None:
    """Look at how a call of the share's player ended."""
    if answer.kind == "died":
        share.deaths += bool(answer.lost)  # else it was starting, or Ray tells of the same death again
    elif answer.kind == "done":
        result = answer.result
        if isinstance(result, RolloutReport) and note_refusal(pool, answer.worker, result):
            return
        share.result, share.is_over = result, True
