"""Incidents: what went wrong and was survived. Counted, told at once, and kept in the run directory."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from olal.errors import OlalError
from olal.metrics import JsonlWriter

_MOST_UNWRITTEN = 1000


class Incidents:
    """Every restart, stale worker, stall and failed write of a run."""

    def __init__(
        self,
        path: Path | None,
        tell: Callable[[str], None],
        count_restart: Callable[[str], None],
        count_alarm: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Start counting.

        Args:
            path: JSON lines file; None keeps no record.
            tell: shows the user one line.
            count_restart: is told the role of a process that died.
            count_alarm: is told the name of every alarm.
            clock: seconds since the epoch.
        """
        self._writer = None if path is None else JsonlWriter(path)
        self._tell, self._clock = tell, clock
        self._count_restart, self._count_alarm = count_restart, count_alarm
        self.restarts: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._unwritten: deque[dict[str, Any]] = deque(maxlen=_MOST_UNWRITTEN)

    def restarted(self, role: str, name: str, error: OlalError) -> None:
        """A process died and is being started again.

        Args:
            role: rollout, replay or learner.
            name: of the actor.
            error: why it is gone.
        """
        self.restarts[role] += 1
        self._count_restart(role)
        self._note("restart", f"{name} died and is started again: {error}", actor=name)

    def stale(self, line: str) -> None:
        """A worker did not have the adapter that it said it had."""
        self._count_alarm("stale_worker")
        self._note("stale", f"ALARM {line}; its episodes are refused")

    def alarm(self, name: str, line: str) -> None:
        """Something else that the user must know."""
        self._count_alarm(name)
        self._note(name, f"ALARM {name}: {line}")

    def alarm_once(self, name: str, line: str) -> None:
        """The same, said again only when the text has changed."""
        if self._said.get(name) != line:
            self._said[name] = line
            self.alarm(name, line)

    def retry(self) -> str:
        """Write what a full disk did not take so far, if it does now; a run that survives that goes on either way.

        Returns:
            Why it does not; empty where nothing waits any more.
        """
        if self._writer is None:
            return ""
        try:
            while self._unwritten:
                self._writer.write(self._unwritten[0])
                self._unwritten.popleft()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def close(self) -> None:
        """Close the record."""
        self.retry()
        if self._writer is not None:
            self._writer.close()

    def _note(self, kind: str, line: str, **more: str) -> None:
        self._tell(line)
        if self._writer is None:
            return
        was_full = bool(self._unwritten)
        self._unwritten.append({"time": self._clock(), "kind": kind, "line": line, **more})
        trouble = self.retry()
        if trouble and not was_full:
            self._tell(f"ALARM events.jsonl cannot be written, events wait in memory: {trouble}")
