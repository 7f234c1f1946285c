"""RayMeter: measurements into Ray's own metrics, which every node of a cluster serves to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from olal.metrics import LabelBounds, Metric


class RayMeter:
    """The `Meter` of a process that is connected to Ray; what it has measured is gone when the process ends."""

    def __init__(self) -> None:
        """Start with no series; each metric is made with its first measurement."""
        self._made: dict[str, Any] = {}
        self._bounds = LabelBounds()

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; adding 0 makes the series known."""
        self._of(metric).add(amount, self._bounds.bounded(metric, labels))

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Give a gauge its present value."""
        self._of(metric).set(float(value), self._bounds.bounded(metric, labels))

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add one observation to a histogram."""
        self._of(metric).observe(float(value), self._bounds.bounded(metric, labels))

    def _of(self, metric: Metric) -> Any:
        if metric.name not in self._made:
            self._made[metric.name] = _make(metric)
        return self._made[metric.name]


class _Counter(Counter):
    """Ray's counter, which refuses to add 0; but a series that is never 0 hides its first event from `increase`."""

    def add(self, amount: float, labels: dict[str, str]) -> None:
        self._record(float(amount), labels)


def _make(metric: Metric) -> Any:
    if metric.kind == "counter":
        return _Counter(metric.name, metric.help, metric.label_names)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.label_names)
    return Histogram(metric.name, metric.help, list(metric.buckets), metric.label_names)
