"""The registry is whole: every metric declared in it is in the table, under its own name, with words for its reader.

Pinned: every metric is labelled by run and environment; the alarms it knows are those that learners raise, and
the reasons of failure those that episodes end for.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from olal.metrics import Metric, registry
from olal.types import FailureReason

DECLARED = [value for value in vars(registry).values() if isinstance(value, Metric)]


def test_no_two_metrics_share_a_name():
    assert list(registry.METRICS.values()) == DECLARED


@pytest.mark.parametrize("metric", DECLARED, ids=lambda metric: metric.name)
def test_a_metric_tells_runs_apart_and_says_what_it_is(metric):
    assert metric.label_names[:2] == ("run", "env")
    assert re.fullmatch(r"[A-Z][^.]+\.", metric.help)


def test_the_known_alarms_are_those_of_the_learners():
    source = (Path(registry.__file__).parents[1] / "learners" / "alarms.py").read_text(encoding="utf-8")
    raised = set(re.findall(r'return \{\s*"(\w+)":', source))
    assert raised == set(registry.ALARMS.labels[-1].values)


def test_the_known_reasons_of_failure_are_those_of_episodes():
    assert set(registry.EPISODE_FAILURES.labels[-1].values) == set(get_args(FailureReason)) - {""}
