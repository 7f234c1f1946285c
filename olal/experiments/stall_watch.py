"""StallWatch: says who waits for whom when nothing has come forward for a while."""

from __future__ import annotations

import time
from collections.abc import Callable


class StallWatch:
    """Raises its voice after a time without progress, and again whenever that time has doubled."""

    def __init__(self, limit_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start now.

        Args:
            limit_s: seconds without progress that are normal.
            clock: seconds.
        """
        self._limit_s, self._clock = limit_s, clock
        self._since = clock()
        self._next = limit_s

    def progress(self) -> None:
        """Something came forward: an episode ended, an update was made, a process stood up."""
        self._since = self._clock()
        self._next = self._limit_s

    def check(self, describe: Callable[[], str]) -> str:
        """The line to say now; empty while all is well.

        Args:
            describe: who waits for whom; asked only where it is to be said.
        """
        waited = self._clock() - self._since
        if waited < self._next:
            return ""
        self._next *= 2
        return f"nothing has come forward for {waited:.0f} s: {describe()}"
