"""Numbers on their way to a file or a table: JSON lines and intervals of means."""

from olal.metrics.jsonl import JsonlWriter, json_line, read_jsonl
from olal.metrics.statistics import MeanInterval, mean_interval

__all__ = ["JsonlWriter", "MeanInterval", "json_line", "mean_interval", "read_jsonl"]
