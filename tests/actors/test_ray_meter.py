"""Every metric of the registry is one that Ray accepts, under the registry's own words.

Pinned: kind, help, labels and buckets arrive in Ray; a counter takes 0; wrong labels are refused. That Prometheus sees
all of it is for the integration tests.
"""

from __future__ import annotations

import pytest
from ray.util import metrics as ray_metrics

from olal.actors import RayMeter
from olal.metrics import registry

KINDS = {"counter": ray_metrics.Counter, "gauge": ray_metrics.Gauge, "histogram": ray_metrics.Histogram}
EVERY_METRIC = pytest.mark.parametrize("metric", registry.METRICS.values(), ids=lambda metric: metric.name)


def record(meter, metric, labels):
    act = {"counter": meter.count, "gauge": meter.set, "histogram": meter.observe}[metric.kind]
    act(metric, 0, labels)


@EVERY_METRIC
def test_a_metric_arrives_in_ray_as_it_is_declared(metric):
    meter = RayMeter()
    record(meter, metric, dict.fromkeys(metric.label_names, "a"))
    made = meter._made[metric.name]
    assert isinstance(made, KINDS[metric.kind])
    assert (made.info["name"], made.info["description"]) == (metric.name, metric.help)
    assert made.info["tag_keys"] == metric.label_names
    assert made.info.get("boundaries", []) == list(metric.buckets)


@EVERY_METRIC
def test_other_labels_than_the_declared_are_refused(metric):
    with pytest.raises(ValueError, match="has the labels run, env"):
        record(RayMeter(), metric, {"run": "a", "seed": "7"})
