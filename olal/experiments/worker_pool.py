"""WorkerPool: the rollout workers of a run, any of which may die, come late, or be told to go.

    starting ──began, ready──▶ ready ⇄ (a call is under way)
       ▲                         │ died, or its engine did: Ray restarts the process, its episodes are free again
       └─────────────────────────┤
                                 └─ told to go ──▶ leaving ──▶ gone

There is no group to form: a worker is one actor with one call under way at most.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import ray

from olal.actors import ProcessReport, RolloutReport
from olal.errors import AdapterLost, OlalError, ProcessLost, ProcessRestarting, RunFailed
from olal.experiments.incidents import Incidents
from olal.experiments.remote import fetch, is_infrastructure
from olal.types import EpisodeTask

State = Literal["starting", "ready", "leaving"]
START_TIMEOUT_S = 300.0
"""Longest that a process may take to start and load its model."""
MOST_FAILED_STARTS = 2
"""Times in a row that a process may die before it is ready."""
_MOST_REFUSALS, _NAP_S = 3, 0.1


@dataclass(eq=False, slots=True)
class Worker:
    """One rollout worker, as the driver sees it.

    Attributes:
        index: number, part of its name; never used twice in a process.
        actor: Ray's handle.
        state: see the module's picture.
        call: the answer it owes; None where none is under way.
        since: when that call began.
        begun: the process that is starting; None where none is known.
        is_building: the call under way is that in which it builds engine and environments.
        process: the one before, which may still answer for a moment after it was killed; once ready, its own.
        tasks: episodes in its hands, by id.
        restarts: processes it has lost.
        failed_starts: times in a row that its process died before it was ready.
        is_stale: the last adapter it claimed to have was not the learner's, and it has not proven another since.
        must_reload: its next call has to load the adapter anew.
        refusals: times in a row that what it claimed to have was not the learner's.
        report: its last one.
    """

    index: int
    actor: Any
    state: State = "starting"
    call: Any = None
    since: float = 0.0
    begun: ProcessReport | None = None
    is_building: bool = False
    process: ProcessReport | None = None
    tasks: dict[int, EpisodeTask] = field(default_factory=dict)
    restarts: int = 0
    failed_starts: int = 0
    is_stale: bool = False
    must_reload: bool = False
    refusals: int = 0
    report: RolloutReport | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A call that ended.

    Attributes:
        worker: whose.
        kind: it became ready, it did what it was asked, it died, or it is still being started.
        result: what it returned.
        lost: episodes that are in nobody's hands now.
        error: why its process is gone; None where it lives.
    """

    worker: Worker
    kind: Literal["ready", "done", "died", "waits"]
    result: Any = None
    lost: tuple[EpisodeTask, ...] = ()
    error: OlalError | None = None


class WorkerPool:
    """Creates workers, calls them, and tells what became of the calls."""

    def __init__(
        self, spawn: Callable[[int], Any], incidents: Incidents, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without workers; call `resize`.

        Args:
            spawn: creates the actor of a worker's index.
            incidents: is told of workers that die or have the wrong adapter.
            clock: seconds.
        """
        self._spawn, self.incidents, self._clock = spawn, incidents, clock
        self._workers: list[Worker] = []
        self._next_index = 0
        self.target = 0

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All of them, those that leave too."""
        return tuple(self._workers)

    @property
    def num_ready(self) -> int:
        """Workers that play or could."""
        return sum(worker.state == "ready" for worker in self._workers)

    @property
    def size(self) -> int:
        """Workers that are not leaving."""
        return sum(worker.state != "leaving" for worker in self._workers)

    def resize(self, count: int) -> None:
        """Create workers or let the newest ones go, until `count` are left; returns at once."""
        self.target = count
        while self.size < count:
            worker = Worker(self._next_index, self._spawn(self._next_index))
            self._next_index += 1
            self._workers.append(worker)
            self._begin(worker, worker.actor.began.remote())
        staying = [worker for worker in self._workers if worker.state != "leaving"]
        for worker in staying[count:]:
            worker.state = "leaving"

    def tidy(self) -> None:
        """Let those go that are leaving and have nothing in hand, and create others for those that left unasked."""
        for worker in [one for one in self._workers if one.state == "leaving" and one.call is None and not one.tasks]:
            self.dismiss(worker)
        self.resize(self.target)

    def settle(self) -> None:
        """Wait for every call under way to end, whatever comes of it; those that start may go on starting."""
        while any(worker.call is not None and worker.state != "starting" for worker in self._workers):
            self.wait((), 0.2)

    def idle(self) -> list[Worker]:
        """Workers that could be called now, in the order of their indices; one that is leaving takes no more tasks."""
        return [worker for worker in self._workers if worker.state != "starting" and worker.call is None]

    def call(self, worker: Worker, method: str, tasks: Sequence[EpisodeTask], *arguments: Any, **options: Any) -> None:
        """Begin a call that hands over tasks; `wait` tells how it ended."""
        worker.tasks |= {task.episode_id: task for task in tasks}
        self._begin(worker, getattr(worker.actor, method).remote(list(tasks), *arguments, **options))

    def await_ready(self, timeout_s: float, stop: Callable[[], bool]) -> None:
        """Wait until no worker is starting, or `stop` says so.

        Raises:
            OlalError: what a worker raised while it built engine and environment.
            RunFailed: one died on the way, or was not ready in time.
        """
        deadline = self._clock() + timeout_s
        while any(worker.state == "starting" for worker in self._workers) and not stop():
            for answer in self.wait((), 0.2)[0]:
                if answer.kind == "died":
                    _check_starts(answer.worker, answer.error)
            if self._clock() > deadline:
                slow = [worker.index for worker in self._workers if worker.state == "starting"]
                raise RunFailed(f"rollout workers {slow} were not ready within {timeout_s:.0f} s; see `ray status`")

    def wait(self, others: Sequence[Any], timeout_s: float) -> tuple[list[Answer], list[Any]]:
        """Wait for any call to end, or any of `others` to be there.

        Returns:
            What became of the calls that ended, and those of `others` that are there.

        Raises:
            OlalError: what a worker raised that no repetition mends, such as a config error.
            RunFailed: a worker dies whenever it starts, and no other is ready.
        """
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        refs = [*others, *calls]
        if not refs:
            time.sleep(min(timeout_s, 0.05))
            return [], []
        first, _ = ray.wait(refs, num_returns=1, timeout=timeout_s, fetch_local=False)
        done, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False) if first else ([], [])
        answers = [self._end(calls[ref]) for ref in done if ref in calls]
        return answers, [ref for ref in done if ref not in calls]

    def restart(self, worker: Worker, error: OlalError) -> tuple[EpisodeTask, ...]:
        """Kill a worker's process and let Ray start it anew; returns the episodes that were in its hands."""
        ray.kill(worker.actor, no_restart=False)
        return self._lose(worker, error)

    def dismiss(self, worker: Worker) -> tuple[EpisodeTask, ...]:
        """Let a worker go for good; returns the episodes that were in its hands."""
        lost = tuple(worker.tasks.values())
        with contextlib.suppress(ValueError):
            self._workers.remove(worker)
        ray.kill(worker.actor)
        return lost

    def forget_tasks(self) -> None:
        """Nobody has any episode in hand any more: the lineage they belong to is over."""
        for worker in self._workers:
            worker.tasks.clear()

    def restart_silent(self, limit_s: float) -> list[Answer]:
        """Kill the processes of workers that should have answered long ago: something in them hangs for good."""
        answers: list[Answer] = []
        for worker in self._workers:
            silent_s = self._clock() - worker.since
            if worker.call is not None and worker.state != "starting" and silent_s > limit_s:
                error = ProcessLost(f"it had not answered for {silent_s:.0f} s")
                answers.append(Answer(worker, "died", None, self.restart(worker, error), error))
        return answers

    def _begin(self, worker: Worker, call: Any) -> None:
        worker.call, worker.since = call, self._clock()

    def _end(self, worker: Worker) -> Answer:
        call, worker.call = worker.call, None
        try:
            [result] = fetch([call])
        except OlalError as error:
            if not is_infrastructure(error) or isinstance(error, AdapterLost):
                raise  # nothing that another process of this worker could do better
            if worker.state == "starting" and isinstance(error, ProcessRestarting) and self._may_still_start(worker):
                return self._ask_who(worker)
            if worker.state == "leaving":
                return Answer(worker, "died", None, self.dismiss(worker), error)
            return Answer(worker, "died", None, self._lose(worker, error), error)
        if worker.state == "starting":
            return self._go_on_starting(worker, result)
        if not isinstance(result, RolloutReport):
            worker.tasks = {}
            return Answer(worker, "done", result)
        worker.report = result
        held = set(result.holding)
        taken = {number for receipt in result.receipts for number in receipt.taken}
        lost = tuple(task for number, task in worker.tasks.items() if number not in held and number not in taken)
        worker.tasks = {number: task for number, task in worker.tasks.items() if number in held}
        if result.is_leaving:
            worker.state = "leaving"
        return Answer(worker, "done", result, lost)

    def _go_on_starting(self, worker: Worker, process: ProcessReport) -> Answer:
        """A process that starts has answered: it is there, or it is ready."""
        if process == worker.process:
            return self._ask_who(worker)
        if worker.is_building:
            worker.state, worker.failed_starts, worker.process, worker.begun = "ready", 0, process, None
            return Answer(worker, "ready")
        if worker.begun not in (None, process):
            error = ProcessLost(
                f"it died while it built engine and environments, with last words in {worker.begun.log}"
            )
            return Answer(worker, "died", None, self._lose(worker, error), error)
        worker.begun, worker.is_building, worker.call = process, True, worker.actor.ready.remote()
        return Answer(worker, "waits")

    def _ask_who(self, worker: Worker) -> Answer:
        time.sleep(_NAP_S)
        worker.is_building, worker.call = False, worker.actor.began.remote()
        return Answer(worker, "waits")

    def _may_still_start(self, worker: Worker) -> bool:
        return self._clock() - worker.since < START_TIMEOUT_S

    def _lose(self, worker: Worker, error: OlalError) -> tuple[EpisodeTask, ...]:
        """A worker's process is gone: its successor has no adapter and no episode."""
        if not isinstance(error, ProcessLost):
            ray.kill(worker.actor, no_restart=False)  # its process lives, but its engine does not
        lost = tuple(worker.tasks.values())
        worker.tasks = {}
        worker.failed_starts += worker.state == "starting"
        worker.process, worker.begun, worker.is_building = worker.begun or worker.process, None, False
        worker.state, worker.report, worker.is_stale, worker.must_reload = "starting", None, False, False
        worker.restarts += 1
        self.incidents.restarted("rollout", f"rollout-{worker.index}", error)
        self._begin(worker, worker.actor.began.remote())
        if not self.num_ready:
            _check_starts(worker, error)
        return lost


def _check_starts(worker: Worker, error: OlalError | None) -> None:
    if worker.failed_starts > MOST_FAILED_STARTS:
        raise RunFailed(f"rollout worker {worker.index} dies whenever it starts: {error}")


def note_refusal(pool: WorkerPool, worker: Worker, report: RolloutReport) -> bool:
    """Whether the buffer refused the adapter that a worker claims to have; the worker is stale then.

    It must load the adapter anew with its next call; if that does not help, its process is replaced. It is believed
    again once the buffer has taken an episode of it: a report without an answer of the buffer says nothing.

    Raises:
        RunFailed: a fresh process does not have it either.
    """
    wrong = next((receipt.unproven for receipt in report.receipts if receipt.unproven is not None), None)
    if wrong is None:
        if any(receipt.taken for receipt in report.receipts):
            worker.is_stale, worker.refusals = False, 0
        return False
    said, expected = wrong
    worker.is_stale = worker.must_reload = True
    worker.refusals += 1
    line = (
        f"rollout-{worker.index} is stale: it says it plays under version {said.version} ({said.digest[:12]}, probe "
        f"{said.probe:.4f}), the learner published "
        + ("no such version" if expected is None else f"{expected.digest[:12]}, probe {expected.probe:.4f}")
    )
    pool.incidents.stale(line)
    if worker.refusals >= _MOST_REFUSALS:
        raise RunFailed(f"{line}; engine and learner do not compute alike: compare model, dtype and versions")
    if worker.refusals == _MOST_REFUSALS - 1:
        pool.restart(worker, ProcessLost(line))
    return True
