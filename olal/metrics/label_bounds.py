"""LabelBounds: keeps the number of time series bounded, whatever values turn up."""

from __future__ import annotations

from collections.abc import Mapping

from olal.metrics.metric import Label, Metric

OTHER = "other"


class LabelBounds:
    """Remembers the values each label of each metric has had; those beyond its bound become "other"."""

    def __init__(self) -> None:
        """Start with no value seen."""
        self._seen: dict[tuple[str, str], set[str]] = {}

    def bounded(self, metric: Metric, labels: Mapping[str, str]) -> dict[str, str]:
        """Give the labels a value is to be recorded under.

        Args:
            metric: what is recorded.
            labels: a value for each of its labels.

        Raises:
            ValueError: they are not the metric's labels.
        """
        if set(labels) != set(metric.label_names):
            raise ValueError(f"{metric.name} has the labels {', '.join(metric.label_names)}: {', '.join(labels)}")
        return {label.name: self._value(metric, label, labels[label.name]) for label in metric.labels}

    def _value(self, metric: Metric, label: Label, value: str) -> str:
        seen = self._seen.setdefault((metric.name, label.name), set(label.values))
        if value not in seen and len(seen) >= label.bound:
            return OTHER
        seen.add(value)
        return value
