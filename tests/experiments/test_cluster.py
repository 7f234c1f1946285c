"""GPUs are shared out evenly; what can never be placed, and addresses of the wrong kind, are refused in one line."""

from __future__ import annotations

import pytest
import ray

from olal.config import load_config
from olal.errors import ClusterError
from olal.experiments.cluster import _check_address, await_capacity, plan_placement


def cluster_of(monkeypatch, **resources):
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{}])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(("gpus", "workers", "share"), [(0, 2, 0.0), (1, 3, 0.25), (2, 2, 0.66), (8, 3, 1.0)])
def test_auto_shares_the_gpus_by_workers_and_learner_at_most_one_each(monkeypatch, gpus, workers, share):
    cluster_of(monkeypatch, CPU=16.0, GPU=float(gpus))
    config = load_config([], {"rollout.workers": workers})

    placement = plan_placement(config)

    assert placement.rollout == (1.0, share)
    assert placement.learner == (0.0, share)
    assert placement.total(workers)["GPU"] <= gpus
    await_capacity(config, placement)


def test_shares_of_the_config_are_taken_as_they_are(monkeypatch):
    cluster_of(monkeypatch, CPU=16.0, GPU=4.0)
    overrides = {"rollout.num_gpus": 0.5, "learner.num_gpus": 0, "learner.num_cpus": 2, "rollout.num_cpus": 0.25}

    placement = plan_placement(load_config([], overrides))

    assert (placement.rollout, placement.learner) == ((0.25, 0.5), (2.0, 0.0))


def test_what_can_never_be_placed_says_what_is_wanted_and_what_there_is(monkeypatch):
    cluster_of(monkeypatch, CPU=4.0)
    config = load_config([], {"rollout.workers": 6})

    with pytest.raises(ClusterError, match=r"6 workers: 6 CPU wanted, 4 available; use --workers 4"):
        await_capacity(config, plan_placement(config))


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", ":6379", "head:port"])
def test_addresses_of_another_kind_are_refused_before_any_connection(address):
    with pytest.raises(ClusterError, match="HOST:PORT"):
        _check_address(address)
