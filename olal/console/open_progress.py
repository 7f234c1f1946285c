"""open_progress: the progress that fits where the output goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

from olal.console.json_progress import JsonProgress
from olal.console.line_progress import LineProgress
from olal.console.live_progress import LiveProgress
from olal.experiments.progress import Progress


@contextmanager
def open_progress(stream: TextIO, *, as_json: bool) -> Iterator[Progress]:
    """Choose JSON lines if asked for, a live table on a terminal, plain lines elsewhere.

    Args:
        stream: where the output goes.
        as_json: write for a program.
    """
    console = Console(file=stream)
    if as_json:
        yield JsonProgress(stream)
    elif console.is_terminal:
        with LiveProgress(console) as progress:
            yield progress
    else:
        yield LineProgress(Console(file=stream, width=120, color_system=None))
