"""Numbers on their way to a file, a table or Prometheus: JSON lines, intervals of means, the metrics of a run."""

from olal.metrics.jsonl import JsonlWriter, json_line, read_jsonl
from olal.metrics.label_bounds import LabelBounds
from olal.metrics.meter import Meter, NullMeter
from olal.metrics.metric import Label, Metric
from olal.metrics.statistics import MeanInterval, mean_interval

__all__ = [
    "JsonlWriter",
    "Label",
    "LabelBounds",
    "MeanInterval",
    "Meter",
    "Metric",
    "NullMeter",
    "json_line",
    "mean_interval",
    "read_jsonl",
]
