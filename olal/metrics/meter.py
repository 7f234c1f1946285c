"""Meter: where measurements go, whatever collects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from olal.metrics.metric import Metric


class Meter(Protocol):
    """Takes measurements of declared metrics.

        meter.count(EPISODES, 3, {"run": "a", "env": "gridworld", "outcome": "solved"})
        meter.set(POLICY_VERSION, 7, {"run": "a", "env": "gridworld"})
        meter.observe(LEARNER_STEP_SECONDS, 0.4, {"run": "a", "env": "gridworld"})

    Calls come from one thread and do not block. All raise ValueError where the labels are not those of the metric.
    """

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Add to a counter; adding 0 makes the series known, so that its first event is seen as an increase."""
        ...

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Give a gauge its present value."""
        ...

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Add one observation to a histogram."""
        ...


class NullMeter:
    """A meter that keeps nothing."""

    def count(self, metric: Metric, amount: float, labels: Mapping[str, str]) -> None:
        """Drop it."""

    def set(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Drop it."""

    def observe(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        """Drop it."""
