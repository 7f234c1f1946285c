"""print_summary: the last lines of a run on a terminal or in a log."""

from __future__ import annotations

from rich.console import Console

from olal.console.formats import duration, number
from olal.console.tables import evaluation_table
from olal.experiments.progress import RunSummary


def print_summary(console: Console, summary: RunSummary) -> None:
    """Print the comparison of the policies, the score, the times and what to do next."""
    if summary.rows:
        console.print(evaluation_table(summary))
    lines: list[str] = []
    if summary.score is not None:
        lines.append(f"score {number(summary.score)}, where 0 is the random policy and 1 the exact optimum")
    if summary.training_s is not None:
        first = "" if summary.first_update_s is None else f", first update after {duration(summary.first_update_s)}"
        lines.append(f"trained for {duration(summary.training_s)}{first}")
    if summary.status == "interrupted":
        lines.append(f"interrupted; go on with: olal resume {summary.run_dir}")
    elif summary.training_s is not None:
        lines.append(f"written to {summary.run_dir}; measure it again with: olal evaluate {summary.run_dir}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
