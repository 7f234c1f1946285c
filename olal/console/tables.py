"""The tables of a terminal: how the policies compare, and what this machine has."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from olal.console.formats import UNKNOWN, number, percent
from olal.experiments.finding import Finding
from olal.experiments.progress import EvaluationRow, RunSummary

_ORDER = ("optimum", "final", "starting", "random")
_NAMES = {"optimum": "exact optimum", "final": "final policy", "starting": "starting policy", "random": "random policy"}
_STYLES = {"ok": "green", "warn": "yellow", "missing": "red"}


def evaluation_table(summary: RunSummary) -> Table:
    """Compare the policies, the best one a policy can be at the top and chance at the bottom."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title="Episodes never trained on",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("return", "interval", "success", "turns", "invalid", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in ordered_rows(summary):
        interval = UNKNOWN
        if row.exact:
            interval = "exact"
        elif row.ci_low is not None and row.ci_high is not None:
            interval = f"{number(row.ci_low)} … {number(row.ci_high)}"
        table.add_row(
            _NAMES.get(row.policy, row.policy),
            number(row.mean_return),
            interval,
            percent(row.success_rate, 1),
            number(row.mean_length, 1),
            percent(row.invalid_rate, 1),
            number(row.score),
            style="bold green" if row.policy == "final" else None,
        )
    return table


def ordered_rows(summary: RunSummary) -> list[EvaluationRow]:
    """Rows from optimum to random; the optimum is added where only its return is known."""
    rows = list(summary.rows)
    if summary.optimum is not None and all(row.policy != "optimum" for row in rows):
        rows.append(EvaluationRow("optimum", summary.optimum, None, None, None, None, None, 1.0, exact=True))
    rank = {policy: index for index, policy in enumerate(_ORDER)}
    return sorted(rows, key=lambda row: rank.get(row.policy, len(rank)))


def findings_table(findings: Sequence[Finding]) -> Table:
    """Show what this machine has, one finding a row."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("advice", overflow="fold")
    for finding in findings:
        style = _STYLES[finding.status]
        cells = (finding.name, finding.value, finding.advice)
        table.add_row(f"[{style}]{finding.status}[/]", *(escape(cell) for cell in cells))
    return table
