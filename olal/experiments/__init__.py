"""Where configs become runs.

This face is light: `launch` and `evaluate` bring Ray and torch, and are imported by their own names.
"""

from olal.experiments.doctor import diagnose
from olal.experiments.finding import Finding
from olal.experiments.progress import EvaluationRow, Progress, RunInfo, RunSummary, UpdateRow
from olal.experiments.run_directory import RunDirectory

__all__ = [
    "EvaluationRow",
    "Finding",
    "Progress",
    "RunDirectory",
    "RunInfo",
    "RunSummary",
    "UpdateRow",
    "diagnose",
]
