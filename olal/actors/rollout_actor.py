"""RolloutActor: a rollout worker in a Ray process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from types import FrameType
from typing import Any

import ray
from ray.exceptions import RayError

from olal.actors.player_thread import PlayerThread
from olal.actors.reports import DeliveryReceipt, ProcessReport, RolloutReport
from olal.adapters import AdapterProof, Publication
from olal.replay import EpisodeRecord, pack
from olal.rollout import EpisodeOutcome, Outbox, RolloutWorker, outcome_of
from olal.types import EpisodeTask, SamplingParams, Trajectory

_TOLD = 4
"""Episodes of a report that are told one by one."""


class RolloutActor:
    """Plays episodes under the adapter it is offered and delivers them to the replay actor.

    Synchronous runs call `rollout`, which ends when the share is played and delivered. Asynchronous runs call `work`
    again and again: each call adds tasks, plays for a moment and tells what became of them, and is the worker's
    heartbeat; episodes go on from call to call and between them.
    """

    def __init__(self, make_worker: Callable[[], RolloutWorker], find_replay: Callable[[], Any]) -> None:
        """Keep the factory; `ready` builds here, where engine and environments will live.

        Of an error raised in a constructor Ray would hand on only the text.

        Args:
            make_worker: builds the worker.
            find_replay: finds the replay actor, to which episodes are delivered. A handle among the arguments of a
                constructor would be lost to processes that are started anew.
        """
        self._player, self._find_replay = PlayerThread(make_worker), find_replay
        self._process = ProcessReport(secrets.randbits(63), f"{socket.gethostname()}:{os.path.realpath('/dev/stderr')}")
        self._epoch = -1
        self._is_leaving = False
        self._left, self._played_s = 0.0, 0.0
        self._outbox: Outbox[Any, DeliveryReceipt] = Outbox(self._send, _answer)

    @property
    def _worker(self) -> RolloutWorker:
        return self._player.worker

    @cached_property
    def _replay(self) -> Any:
        """Found when it is needed: a call may reach a process that was started anew before `ready` does."""
        return self._find_replay()

    def began(self) -> ProcessReport:
        """Which process this is, before it builds anything that may kill it."""
        return self._process

    def ready(self) -> ProcessReport:
        """Build what is not built yet, which takes as long as a model takes to load, and return `began`."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._leave)
        _ = self._worker
        return self._process

    def rollout(
        self,
        tasks: Sequence[EpisodeTask],
        sampling: SamplingParams,
        publication: Publication,
        epoch: int,
        *,
        anew: bool = False,
    ) -> RolloutReport:
        """Play `tasks` to their end and put the trajectories into the replay buffer.

        Args:
            tasks: this worker's share.
            sampling: how to draw tokens.
            publication: the adapter to play under.
            epoch: lineage of the policy.
            anew: load the adapter again although it was loaded.
        """
        worker, self._epoch = self._worker, epoch
        self._player.halt()
        began = time.monotonic()
        self._player.do(lambda: worker.follow(publication, ray.get, worker.collector, anew=anew))
        started = time.monotonic()
        trajectories = self._player.do(lambda: worker.play(tasks, sampling))
        duration_s = time.monotonic() - started
        receipts = ray.get([self._send(*self._packed(trajectories))])
        return self._told(self._report(trajectories, duration_s=duration_s, sync_s=started - began), receipts)

    def work(
        self,
        tasks: Sequence[EpisodeTask],
        sampling: SamplingParams,
        publication: Publication,
        epoch: int,
        *,
        for_s: float,
        anew: bool = False,
    ) -> RolloutReport:
        """Take on `tasks`, play for about `for_s` seconds, and go on playing while the report travels.

        What finished is delivered without waiting for an answer. Arguments as of `rollout`. Where the adapter's owner
        died, that is told, and no task is taken on.
        """
        worker, began = self._worker, time.monotonic()
        finished = self._player.halt()
        if anew or epoch != self._epoch:  # what was played so far counts for nothing
            worker.disown()
            self._outbox.clear()
            finished = []
        self._epoch = epoch
        proof, adapter_lost, started = worker.proof, False, time.monotonic()
        try:
            self._player.do(lambda: worker.follow(publication, ray.get, worker.stream, anew=anew))
        except RayError:  # its owner died
            tasks, adapter_lost = [], True
        sync_s = time.monotonic() - started if worker.proof is not proof else 0.0
        if self._is_leaving:
            worker.stream.revoke(worker.ids)  # what has not begun
        else:
            worker.offer(tasks)
        finished += self._player.play(sampling, for_s)
        now, played_s = time.monotonic(), worker.stream.busy_s
        duration_s = played_s - self._played_s
        idle_s = max(0.0, now - (self._left or began) - duration_s - sync_s)
        self._left, self._played_s = now, played_s
        report = self._report(finished, duration_s=duration_s, sync_s=sync_s, idle_s=idle_s, for_s=for_s)
        self._player.go_on(sampling)
        self._outbox.add(*self._packed(finished))
        return replace(self._told(report, self._outbox.work()), adapter_lost=adapter_lost)

    def evaluate(
        self,
        tasks: Sequence[EpisodeTask],
        sampling: SamplingParams,
        publication: Publication,
        *,
        anew: bool = False,
    ) -> list[EpisodeOutcome]:
        """Play `tasks` without delivering them; whatever is being played is given up."""
        worker = self._worker
        self._player.halt()
        worker.disown()
        self._player.do(lambda: worker.follow(publication, ray.get, worker.collector, anew=anew))
        return [outcome_of(trajectory) for trajectory in self._player.do(lambda: worker.play(tasks, sampling))]

    def _packed(self, trajectories: Sequence[Trajectory]) -> tuple[list[EpisodeRecord], list[AdapterProof]]:
        paid = self._worker.collector.pay(
            trajectories
        )  # progress shows the environment's reward, the learner's is this
        return [pack(trajectory) for trajectory in paid], self._worker.proofs_of(trajectories)

    def _send(self, records: Sequence[EpisodeRecord], proofs: Sequence[AdapterProof]) -> Any:
        return self._replay.put.remote(list(records), list(proofs), self._epoch)

    def _report(
        self,
        trajectories: Sequence[Trajectory],
        *,
        duration_s: float,
        sync_s: float,
        idle_s: float = 0.0,
        for_s: float = 0.0,
    ) -> RolloutReport:
        """How things stand, but for what is under way to the buffer; see `_told`."""
        worker = self._worker
        return RolloutReport(
            outcomes=tuple(map(outcome_of, trajectories)),
            receipts=(),
            holding=worker.ids,
            in_flight=tuple(worker.in_flight[:_TOLD]),
            wanted=0 if self._is_leaving else worker.stream.wanted(for_s),
            proof=worker.proof,
            adapters=worker.adapters,
            pid=os.getpid(),
            duration_s=duration_s,
            sync_s=sync_s,
            idle_s=idle_s,
            is_leaving=self._is_leaving,
        )

    def _told(self, report: RolloutReport, receipts: Sequence[DeliveryReceipt]) -> RolloutReport:
        """The report with what the buffer said, and what it has not acknowledged yet."""
        return replace(report, receipts=tuple(receipts), holding=(*report.holding, *self._outbox.ids))

    def _leave(self, _signal: int, _frame: FrameType | None) -> None:
        """SIGTERM, as a node sends that is about to be taken away: what is being played may end, nothing new starts."""
        self._is_leaving = True


def _answer(ticket: Any) -> DeliveryReceipt | None:
    done, _ = ray.wait([ticket], timeout=0)
    if not done:
        return None
    try:
        return ray.get(ticket)
    except RayError as error:
        raise ConnectionError(str(error)) from error
