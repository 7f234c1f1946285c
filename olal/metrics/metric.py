"""Metric: what one time series is called, measures and is labelled with. One that Prometheus cannot take is refused."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Literal

NAME = re.compile(r"olal_[a-z0-9_]+")
LABEL_NAME = re.compile(r"[a-z][a-z0-9_]*")
SCALED_UNITS = ("ms", "us", "ns", "milliseconds", "minutes", "hours", "kb", "mb", "gb", "percent")
MOST_SERIES = 4096


@dataclass(frozen=True, slots=True)
class Label:
    """A dimension of a metric; its number of values is bounded, since each one is a time series.

    Attributes:
        name: as in a query.
        values: those known beforehand.
        most: values told apart in one process, those known included; further ones become "other". Where it is not
            above the number of `values`, these are all there are.
    """

    name: str
    values: tuple[str, ...] = ()
    most: int = 0

    def __post_init__(self) -> None:
        if not LABEL_NAME.fullmatch(self.name):
            raise ValueError(f"a label is named by lower-case letters, digits and underscores: {self.name!r}")
        if not (self.values or self.most):
            raise ValueError(f"a label has known values or a bound on their number: {self.name!r}")

    @property
    def bound(self) -> int:
        """Most values told apart, "other" left out."""
        return max(self.most, len(self.values))


@dataclass(frozen=True, slots=True)
class Metric:
    """The declaration of a metric.

    Attributes:
        name: `olal_...`; it ends with its unit, a counter's with `_total` after that.
        kind: "counter" only grows, "gauge" is the present value, "histogram" counts observations by size.
        help: one sentence for whoever meets it in a query.
        labels: its dimensions.
        unit: base unit; empty for a number of things or a plain number.
        buckets: upper bounds of a histogram's buckets, positive and ascending.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[Label, ...]
    unit: Literal["", "bytes", "nats", "seconds", "versions"] = ""
    buckets: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for problem in (self._name_problem(), self._bucket_problem(), self._label_problem()):
            if problem:
                raise ValueError(f"{problem}: {self.name!r}")

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of its dimensions, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def most_series(self) -> int:
        """Most time series that one process makes of it, buckets not counted."""
        return math.prod(label.bound + 1 for label in self.labels)  # and "other"

    def _name_problem(self) -> str:
        is_counter = self.kind == "counter"
        if not NAME.fullmatch(self.name):
            return "a metric is named olal_ and lower-case letters, digits and underscores"
        if self.name.endswith("_total") != is_counter:
            return "a counter, and nothing else, ends with _total"
        if self.unit and not self.name.removesuffix("_total").endswith(f"_{self.unit}"):
            return f"a metric in {self.unit} says so at the end of its name"
        if set(self.name.split("_")) & set(SCALED_UNITS):
            return "a metric is in base units, such as seconds and bytes"
        return ""

    def _bucket_problem(self) -> str:
        if bool(self.buckets) != (self.kind == "histogram"):
            return "a histogram, and nothing else, has buckets"
        bounds = (0.0, *self.buckets)
        if any(low >= high for low, high in itertools.pairwise(bounds)):
            return "bounds of buckets are positive and ascending"
        return ""

    def _label_problem(self) -> str:
        if len(set(self.label_names)) < len(self.labels):
            return "a metric has each label once"
        return f"a metric may make at most {MOST_SERIES} series" if self.most_series > MOST_SERIES else ""
