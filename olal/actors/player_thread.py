"""PlayerThread: the thread of a rollout process on which its engine lives and its episodes are played.

    process   take tasks │ wait ........... │ report, deliver │ wait for the next call │ take tasks
    player      halt     │ play             │ play                                     │   halt

Between two calls the episodes do not stand still: what the driver takes to answer costs no playing time.
"""

from __future__ import annotations

import math
import queue
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import cached_property, partial
from typing import Any, TypeVar

from olal.rollout import RolloutWorker
from olal.types import SamplingParams, Trajectory

Made = TypeVar("Made")
_NAP_S = 0.1


class PlayerThread:
    """Builds a worker and makes its calls, all on one thread, which ends with the process.

    The calling loop; between `go_on` and `halt` nothing else may touch the worker:

        finished = player.halt()                  # what ended since the last call
        player.do(lambda: player.worker.follow(...)); player.worker.offer(...)
        finished += player.play(sampling, for_s)
        ...                                       # look at the worker
        player.go_on(sampling)
    """

    def __init__(self, make_worker: Callable[[], RolloutWorker]) -> None:
        """Start the thread; the worker is built when it is first asked for.

        Args:
            make_worker: builds the worker.
        """
        self._make_worker = make_worker
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._playing: tuple[threading.Event, Future[list[Trajectory]]] | None = None
        self._thread = threading.Thread(target=_serve, args=(self._calls,), name="olal-player", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._calls.put, None)

    @cached_property
    def worker(self) -> RolloutWorker:
        """Everything that plays.

        Raises:
            OlalError: as building it does.
        """
        return self.do(self._make_worker)

    def do(self, call: Callable[[], Made]) -> Made:
        """Make a call on the thread, and wait for it; returns or raises what it does."""
        return call() if threading.current_thread() is self._thread else self._submit(call).result()

    def go_on(self, sampling: SamplingParams) -> None:
        """Play until halted, or until nothing is left to play."""
        if self._playing is None and self.worker.stream.in_flight:
            stop = threading.Event()
            self._playing = stop, self._submit(partial(self.worker.run, sampling, math.inf, stop))

    def play(self, sampling: SamplingParams, for_s: float) -> list[Trajectory]:
        """Play for about `for_s` seconds, less where nothing is left, and halt; returns what finished meanwhile."""
        self.go_on(sampling)
        if self._playing is None:
            time.sleep(min(for_s, _NAP_S))  # whoever calls again at once should not do so too often
        else:
            wait([self._playing[1]], for_s)
        return self.halt()

    def halt(self) -> list[Trajectory]:
        """Stop playing, once the engine has done what it is at; what is in flight stays so.

        Returns:
            What has finished since the last time.

        Raises:
            WorkerFailed: the engine failed, or too many environments hang.
        """
        if self._playing is None:
            return []
        (stop, played), self._playing = self._playing, None
        stop.set()
        self.worker.stream.nudge()
        return played.result()

    def _submit(self, call: Callable[[], Made]) -> Future[Made]:
        future: Future[Made] = Future()
        self._calls.put((future, call))
        return future


def _serve(calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (asked := calls.get()) is not None:
        future, call = asked
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)
        del future, call, asked  # else they would live until the next one
