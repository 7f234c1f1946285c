"""JsonProgress: one JSON object a line, for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, TextIO

from olal.experiments.progress import RunInfo, RunSummary, UpdateRow
from olal.metrics import json_line


class JsonProgress:
    """Writes every event as one line with a field `event`: status, started, updated, finished."""

    def __init__(self, stream: TextIO) -> None:
        """Write to a stream.

        Args:
            stream: flushed after each line.
        """
        self._stream = stream

    def status(self, text: str) -> None:
        """Write what is being done."""
        self._write("status", {"text": text})

    def started(self, info: RunInfo) -> None:
        """Write where the run is."""
        self._write("started", asdict(info))

    def updated(self, row: UpdateRow) -> None:
        """Write one update."""
        self._write("updated", asdict(row))

    def finished(self, summary: RunSummary) -> None:
        """Write the result."""
        self._write("finished", evaluation_record(summary))

    def _write(self, event: str, fields: dict[str, Any]) -> None:
        self._stream.write(json_line({"event": event, **fields}) + "\n")
        self._stream.flush()


def evaluation_record(summary: RunSummary) -> dict[str, Any]:
    """Give a summary as plain data, `score` among its fields."""
    return asdict(summary)
