"""open_progress: the progress that fits where the output goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from rich.console import Console

from olal.console.json_progress import JsonProgress
from olal.console.line_progress import LineProgress
from olal.console.live_progress import LiveProgress
from olal.console.stray_output import StrayOutput
from olal.experiments.progress import Progress


@contextmanager
def open_progress(stream: TextIO, *, as_json: bool) -> Iterator[Progress]:
    """Choose JSON lines if asked for, a live table on a terminal, plain lines elsewhere; what others print joins in.

    Args:
        stream: where the output goes.
        as_json: write for a program.
    """
    console = Console(file=stream)
    if console.is_terminal and not as_json:
        with LiveProgress(console) as progress:  # it shows what others print above its table
            yield progress
        return
    lines = JsonProgress(stream) if as_json else LineProgress(Console(file=stream, width=120, color_system=None))
    with redirect_stdout(StrayOutput(lines.status)):
        yield lines
