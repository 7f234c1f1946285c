"""A metric that Prometheus, or whoever reads its name, would misunderstand cannot be declared; labels stay bounded.

Pinned: names, units and kinds agree; a value beyond a label's bound is "other"; labels are exactly those declared.
"""

from __future__ import annotations

import pytest

from olal.metrics import Label, LabelBounds, Metric

RUN = Label("run", most=2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": "olal/steps_total"}, "is named olal_"),
        ({"name": "steps_total"}, "is named olal_"),
        ({"name": "olal_Steps_total"}, "is named olal_"),
        ({"name": "olal_steps"}, "ends with _total"),
        ({"name": "olal_steps_total", "kind": "gauge"}, "ends with _total"),
        ({"name": "olal_idle_total", "unit": "seconds"}, "in seconds says so"),
        ({"name": "olal_idle_ms_total"}, "base units"),
        ({"name": "olal_step_seconds", "kind": "histogram"}, "has buckets"),
        ({"name": "olal_lag", "kind": "gauge", "buckets": (1.0,)}, "has buckets"),
        ({"name": "olal_step_seconds", "kind": "histogram", "buckets": (0.0, 1.0)}, "positive and ascending"),
        ({"name": "olal_step_seconds", "kind": "histogram", "buckets": (2.0, 1.0)}, "positive and ascending"),
        ({"name": "olal_steps_total", "labels": (RUN, RUN)}, "each label once"),
        ({"name": "olal_steps_total", "labels": (RUN, Label("episode", most=5000))}, "at most 4096 series"),
    ],
)
def test_a_misleading_declaration_is_refused(options, reason):
    declared = {"kind": "counter", "help": "Steps.", "labels": (RUN,)} | options
    with pytest.raises(ValueError, match=reason):
        Metric(**declared)


@pytest.mark.parametrize("options", [{"name": "Run", "most": 1}, {"name": "run"}])
def test_a_label_needs_a_plain_name_and_a_bound(options):
    with pytest.raises(ValueError, match="a label"):
        Label(**options)


def test_values_beyond_a_bound_become_other_and_known_ones_stay():
    reason = Label("reason", ("stale",), most=2)
    metric, bounds = Metric("olal_drops_total", "counter", "Drops.", (reason,)), LabelBounds()

    values = [bounds.bounded(metric, {"reason": value})["reason"] for value in ("a", "b", "stale", "a", "b")]

    assert values == ["a", "other", "stale", "a", "other"]
    assert metric.most_series == 3


def test_a_label_whose_values_are_all_known_takes_no_other():
    metric = Metric("olal_ends_total", "counter", "Ends.", (Label("outcome", ("won", "lost")),))
    assert LabelBounds().bounded(metric, {"outcome": "drawn"}) == {"outcome": "other"}


@pytest.mark.parametrize("labels", [{}, {"run": "a", "seed": "7"}, {"env": "a"}])
def test_other_labels_than_the_declared_are_refused(labels):
    metric = Metric("olal_steps_total", "counter", "Steps.", (RUN,))
    with pytest.raises(ValueError, match="olal_steps_total has the labels run"):
        LabelBounds().bounded(metric, labels)
