"""step_bar: a progress bar for work in numbered steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def step_bar(label: str) -> Iterator[Callable[[int, int, float], None]]:
    """Show a bar on stderr; yields a function of the step, the number of steps and the loss.

    Args:
        label: what is being done.
    """
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=None, loss=float("nan"))
        yield lambda step, steps, loss: progress.update(task, completed=step + 1, total=steps, loss=loss)
