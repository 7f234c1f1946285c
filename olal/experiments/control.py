"""RunControl: how `olal scale` and `olal status` speak with the process that drives a run: two small files.

    RUN/control.json     wishes, written by `olal scale`           {"workers": 8}
    RUN/status.json      the state, written by the driver          every second, replaced in one step

They need no connection to the cluster and work while Ray itself is in trouble.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from olal.metrics import json_line


class RunControl:
    """The driver's side."""

    def __init__(self, directory: Path, *, every_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no wish; one that an earlier process was given is not carried out again.

        Args:
            directory: of the run.
            every_s: seconds between two looks, and between two reports.
            clock: seconds.
        """
        self._wishes, self._status = directory / "control.json", directory / "status.json"
        self._every_s, self._clock = every_s, clock
        self._next_look = self._next_report = 0.0
        self._wishes.unlink(missing_ok=True)

    def wanted_workers(self) -> int | None:
        """The number of workers that was asked for since the last call; None if nobody asked."""
        now = self._clock()
        if now < self._next_look or not self._wishes.exists():
            return None
        self._next_look = now + self._every_s
        try:
            wanted = json.loads(self._wishes.read_text(encoding="utf-8"))["workers"]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # half written: the next look will find it whole
        self._wishes.unlink(missing_ok=True)
        return wanted if isinstance(wanted, int) and wanted >= 1 else None

    def report(self, make: Callable[[], Mapping[str, Any]], *, at_once: bool = False) -> None:
        """Replace the status, if it is time; a disk that cannot be written does not stop the run."""
        now = self._clock()
        if now < self._next_report and not at_once:
            return
        self._next_report = now + self._every_s
        try:
            write_whole(self._status, json_line({**make(), "pid": os.getpid(), "time": time.time()}) + "\n")
        except OSError:
            return


def ask_for_workers(directory: Path, count: int) -> None:
    """Ask the process that drives a run for another number of rollout workers."""
    write_whole(directory / "control.json", json_line({"workers": count}) + "\n")


def read_status(directory: Path) -> dict[str, Any]:
    """The last status; empty where there is none."""
    try:
        return dict(json.loads((directory / "status.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step, so that a reader sees the old one or the new one."""
    scratch = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
