"""Lane: a thread that runs the code of one or more environments, and can be left behind where one of them hangs."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from olal.rollout.episode import Episode, Seen

_MOST_WAKES = 4096


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


@dataclass(eq=False, slots=True)
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


class Mailbox:
    """Where lanes leave their answers, and wake the owner when they have done what they were given.

    Waking a thread costs more than a cheap call, so it is done once a batch; whoever cannot wait looks in before. The
    owner is woken through a pipe: Python's lock is given up for a write, so that the owner finds it free, where a
    queue's would wake it into waiting for that lock.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._answers: deque[Answer] = deque()
        self._out, self._in = os.pipe()
        self._is_woken = self._is_nudged = False
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        weakref.finalize(self, _close, self._out, self._in)

    def leave(self, answer: Answer) -> None:
        """Leave an answer."""
        self._answers.append(answer)

    def wake(self) -> None:
        """Tell the owner to look in, where it was not told already."""
        if not self._is_woken:
            self._is_woken = True
            os.write(self._in, b"!")

    def nudge(self) -> None:
        """Let the owner's `take` return, though there may be no answer."""
        self._is_nudged = True
        os.write(self._in, b"!")

    def take(self, timeout_s: float) -> list[Answer]:
        """All answers there are; where there are none, look again when woken, nudged, or after `timeout_s`."""
        if not self._answers and timeout_s > 0:
            while not (self._answers or self._is_nudged) and self._poll.poll(1e3 * timeout_s):
                os.read(self._out, _MOST_WAKES)
                self._is_woken = False  # before the answers are looked at: one that comes after that wakes again
            self._is_nudged = False
        answers: list[Answer] = []
        while self._answers:
            answers.append(self._answers.popleft())
        return answers


class Lane:
    """One thread with a queue of calls, made one after the other."""

    def __init__(self, mailbox: Mailbox, clock: Callable[[], float]) -> None:
        """Start the thread.

        Args:
            mailbox: where the answer to every call goes.
            clock: monotonic seconds.
        """
        self.num_seats = 0
        self._mailbox, self._clock = mailbox, clock
        self._batches: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        self._rest: deque[Job] = deque()
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

    def put(self, jobs: Sequence[Job]) -> None:
        """Queue calls."""
        self._batches.put(jobs)

    def stop(self) -> None:
        """Let the thread end after the calls that are queued."""
        self._batches.put(None)

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
        waiting = list(self._rest)
        with contextlib.suppress(queue.Empty):
            while True:
                waiting.extend(self._batches.get_nowait() or ())
        return waiting

    def _serve(self) -> None:
        while True:
            batch = self._batches.get()
            if batch is None:
                return
            self._rest.extend(batch)
            while self._rest:
                if not self._make(self._rest.popleft()):
                    return
            self._mailbox.wake()

    def _make(self, job: Job) -> bool:
        """Make a call; whether the thread is still wanted."""
        started = self._clock()
        self._current = (job, started)
        try:
            value = job.run()
        except BaseException as error:  # also SystemExit: an environment may not end its thread
            value = error
        with self._lock:
            self._current = None
            if not self._is_abandoned:
                self._mailbox.leave(Answer(job, value, self._clock() - started))
                return True
        with contextlib.suppress(BaseException):
            job.dispose()
        return False


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
