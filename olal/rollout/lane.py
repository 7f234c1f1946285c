"""Lane: a thread that runs the code of one or more environments, and can be left behind where one of them hangs."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from olal.rollout.episode import Episode, Seen


@dataclass(eq=False, slots=True)
class Job:
    """A call into an environment.

    Attributes:
        run: makes the call; what it raises is an answer too.
        dispose: what the thread does with the environment should it come back from a call that was given up.
        owner: the episode that waits for the answer; None where nobody does.
    """

    run: Callable[[], Seen | None]
    dispose: Callable[[], object]
    owner: Episode | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended.

    Attributes:
        job: the call.
        value: what it returned, or what it raised.
        duration_s: how long it took.
    """

    job: Job
    value: Seen | BaseException | None
    duration_s: float


class Lane:
    """One thread with a queue of calls, made one after the other."""

    def __init__(self, answers: queue.SimpleQueue[Answer], clock: Callable[[], float]) -> None:
        """Start the thread.

        Args:
            answers: where the answer to every call goes.
            clock: monotonic seconds.
        """
        self.num_seats = 0
        self._answers, self._clock = answers, clock
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._current: tuple[Job, float] | None = None
        self._is_abandoned = False
        self._thread = threading.Thread(target=self._serve, name="olal-environment", daemon=True)
        self._thread.start()

    @property
    def current(self) -> tuple[Job, float] | None:
        """The call being made, and when it began."""
        return self._current

    @property
    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def put(self, job: Job) -> None:
        """Queue a call."""
        self._jobs.put(job)

    def stop(self) -> None:
        """Let the thread end after the calls that are queued."""
        self._jobs.put(None)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def abandon(self, job: Job) -> list[Job] | None:
        """Leave the thread to the call it hangs in: there will be no answer to it.

        Returns:
            The calls that were waiting behind it; None where the call ended just now and nothing was done.
        """
        with self._lock:
            if self._current is None or self._current[0] is not job:
                return None
            self._is_abandoned = True
        waiting: list[Job] = []
        with contextlib.suppress(queue.Empty):
            while True:
                one = self._jobs.get_nowait()
                if one is not None:
                    waiting.append(one)
        return waiting

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            started = self._clock()
            self._current = (job, started)
            try:
                value = job.run()
            except BaseException as error:  # also SystemExit: an environment may not end its thread
                value = error
            with self._lock:
                self._current = None
                if not self._is_abandoned:
                    self._answers.put(Answer(job, value, self._clock() - started))
                    continue
            with contextlib.suppress(BaseException):
                job.dispose()
            return
