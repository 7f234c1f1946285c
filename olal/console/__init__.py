"""What a terminal shows: the only folder that knows rich. Imported by the command line alone."""

from olal.console.json_progress import JsonProgress, evaluation_record
from olal.console.line_progress import LineProgress
from olal.console.live_progress import LiveProgress
from olal.console.open_progress import open_progress
from olal.console.sparkline import sparkline
from olal.console.status import print_status
from olal.console.step_bar import step_bar
from olal.console.tables import evaluation_table, findings_table

__all__ = [
    "JsonProgress",
    "LineProgress",
    "LiveProgress",
    "evaluation_record",
    "evaluation_table",
    "findings_table",
    "open_progress",
    "print_status",
    "sparkline",
    "step_bar",
]
