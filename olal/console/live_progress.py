"""LiveProgress: one table that stays in its place while a run goes on, for people at a terminal."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from olal.console.closing import print_summary
from olal.console.formats import duration, number, percent, rate
from olal.console.sparkline import sparkline
from olal.experiments.progress import RunInfo, RunSummary, UpdateRow


class LiveProgress:
    """A live table of the newest update, the curve of the return and what is being done.

        with LiveProgress(Console()) as progress:
            launch(config, None, None, progress)

    The last state of the table stays on the screen, whichever way the block is left.
    """

    def __init__(self, console: Console) -> None:
        """Draw on a terminal.

        Args:
            console: the terminal.
        """
        self._console = console
        self._updates = 0
        self._row: UpdateRow | None = None
        self._returns: list[float] = []
        self._spinner = Spinner("dots", text="")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Draw once more and leave the terminal as it was."""
        self._stop()

    def status(self, text: str) -> None:
        """Show what is being done under the table."""
        self._spinner.update(text=Text(text))

    def started(self, info: RunInfo) -> None:
        """Print where the run is, above the table."""
        self._updates = info.updates
        self._console.print(Text.assemble(("run       ", "bold"), str(info.run_dir)), soft_wrap=True)
        if info.dashboard_url:
            self._console.print(Text.assemble(("dashboard ", "bold"), info.dashboard_url), soft_wrap=True)
        self.status(f"{info.workers} rollout workers play")

    def updated(self, row: UpdateRow) -> None:
        """Show one update, and print above the table every alarm that the update before did not raise."""
        known = self._row.alarms if self._row is not None else {}
        for name, line in row.alarms.items():
            if name not in known:
                text = Text.assemble((f"ALARM {name}", "bold red"), f" in version {row.version}: {line}")
                self._console.print(text, soft_wrap=True)
        self._row = row
        self._returns.append(row.mean_return)

    def finished(self, summary: RunSummary) -> None:
        """Stop drawing and print the comparison of the policies."""
        self._stop()
        print_summary(self._console, summary)

    def _stop(self) -> None:
        self._spinner.text = ""
        self._live.stop()

    def _render(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self._row is not None:
            parts += [_row_table(self._row, self._updates), self._curve(self._row)]
        if self._row is not None and self._row.alarms:
            parts.append(Text(f"  ALARM {', '.join(self._row.alarms)}", style="bold red"))
        if self._spinner.text:
            parts.append(self._spinner)
        return Group(*parts)

    def _curve(self, row: UpdateRow) -> Text:
        tail = [f"  {duration(row.elapsed_s)}", f"{row.episodes:,} episodes"]
        if row.failed_episodes:
            tail.append(f"{row.failed_episodes:,} failed")
        return Text.assemble(("  return  ", "dim"), (sparkline(self._returns), "green"), ", ".join(tail))


def _row_table(row: UpdateRow, updates: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    cells = {
        "version": f"{row.version}/{updates}",
        "env\nsteps/s": rate(row.env_steps_per_s),
        "tokens/s": rate(row.tokens_per_s),
        "return": number(row.mean_return),
        "success": percent(row.success_rate),
        "replay": percent(row.replay_episodes / max(row.replay_capacity, 1)),
        "staleness": number(row.staleness, 2),
        "learner\nstep": f"{number(row.learner_step_s, 2)} s",
    }
    for heading in cells:
        table.add_column(Text(heading, justify="right"), justify="right", vertical="bottom", no_wrap=True)
    table.add_row(*cells.values())
    return table
