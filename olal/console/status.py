"""print_status: a run at a glance: how far it is, where every episode is, what the workers do."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from olal.console.formats import UNKNOWN
from olal.experiments.run_status import RunStatus

_STYLES = {"running": "green", "finished": "green", "interrupted": "yellow", "died": "red"}


def print_status(console: Console, status: RunStatus) -> None:
    """Write a run's state, its ledger and its workers.

    Args:
        console: where to.
        status: of the run.
    """
    style = _STYLES.get(status.state, "yellow")
    console.print(f"{status.run_dir}: [bold {style}]{status.state}[/], {status.mode}, ", end="", highlight=False)
    console.print(
        f"version {status.version}/{status.updates}, checkpoint {status.checkpoint or 'none'}", highlight=False
    )
    for role, count in sorted(status.restarts.items()):
        console.print(f"{role}: {count} processes died and were started again", highlight=False)
    console.print(ledger_table(status))
    if status.workers:
        console.print(workers_table(status))


def ledger_table(status: RunStatus) -> Table:
    """Where every episode is; the numbers above the line add up to the one below."""
    balance = status.balance
    table = _table("Ledger")
    table.add_column("episodes", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_row("trained", f"{balance.trained:,}")
    for reason, count in sorted(status.dropped.items()):
        table.add_row(f"dropped: {reason}", f"{count:,}")
    table.add_row("buffered", f"{balance.buffered:,}")
    table.add_row("in flight", f"{balance.in_flight:,}", end_section=True)
    verdict = "" if status.is_balanced else "  [bold red]NOT BALANCED[/]"
    table.add_row("handed out", f"{balance.handed_out:,}{verdict}", style="bold")
    table.caption = f"{status.duplicates:,} deliveries came twice, {status.refused:,} were refused and played again"
    table.caption_justify = "left"
    return table


def workers_table(status: RunStatus) -> Table:
    """One line a worker."""
    table = _table("Rollout workers")
    for heading in ("worker", "state", "version", "episodes in hand", "restarts", "process"):
        table.add_column(heading, justify="left" if heading in ("worker", "state") else "right", no_wrap=True)
    for row in status.workers:
        cells = [row.get(name) for name in ("version", "in_hand", "restarts", "pid")]
        shown = [UNKNOWN if cell is None else str(cell) for cell in cells]
        table.add_row(f"rollout-{row['index']}", str(row["state"]), *shown)
    return table


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left", title_style="bold")
