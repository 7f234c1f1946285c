"""GPUs are shared out evenly; what can never be placed, and addresses of the wrong kind, are refused in one line."""

from __future__ import annotations

import time

import pytest
import ray.autoscaler.sdk

from olal.config import load_config
from olal.errors import ClusterError
from olal.experiments import cluster, cluster_address
from olal.experiments.cluster import await_capacity, plan_placement
from olal.experiments.cluster_address import auth_token, check_address, check_membership
from olal.experiments.node_report import NodeReport
from olal.experiments.placement import Placement, count_workers


def cluster_of(monkeypatch, *nodes):
    """A cluster of these nodes, the first of them the driver's own."""
    reports = [NodeReport(f"node-{place}", place == 0, resources) for place, resources in enumerate(nodes)]
    total = {name: sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    monkeypatch.setattr(cluster, "alive_nodes", lambda: reports)
    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.parametrize(("gpus", "workers", "share"), [(0, 2, 0.0), (1, 3, 0.25), (2, 2, 0.5), (8, 3, 1.0)])
def test_auto_shares_the_gpus_by_workers_and_learner_at_most_one_each(monkeypatch, gpus, workers, share):
    cluster_of(monkeypatch, {"CPU": 16.0, "GPU": float(gpus)})
    config = load_config([], {"rollout.workers": workers})

    placement = plan_placement(config)

    assert placement.rollout == (1.0, share)
    assert placement.learner == (0.0, share)
    await_capacity(config, placement)


def test_shares_of_the_config_are_taken_as_they_are(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 16.0, "GPU": 4.0})
    overrides = {"rollout.num_gpus": 0.5, "learner.num_gpus": 0, "learner.num_cpus": 2, "rollout.num_cpus": 0.25}

    placement = plan_placement(load_config([], overrides))

    assert (placement.rollout, placement.learner) == ((0.25, 0.5), (2.0, 0.0))


@pytest.mark.parametrize(
    ("nodes", "rollout", "learner", "expected"),
    [
        ([{"CPU": 0.0, "GPU": 1.0}] + [{"CPU": 8.0, "GPU": 1.0}] * 16, (1.0, 1.0), (0.0, 1.0), 16),
        ([{"CPU": 0.0}] + [{"CPU": 8.0, "GPU": 1.0}] * 16, (1.0, 1.0), (0.0, 1.0), 15),
        ([{"CPU": 0.0}] + [{"CPU": 8.0, "GPU": 1.0}] * 16, (1.0, 0.94), (0.0, 0.94), 15),
        ([{"CPU": 4.0}, {"CPU": 4.0}], (3.0, 0.0), (0.0, 0.0), 2),
        ([{"CPU": 4.0}, {"CPU": 4.0}], (1.0, 0.0), (4.0, 0.0), 4),
        ([{"CPU": 8.0, "GPU": 1.0}], (1.0, 0.25), (0.0, 0.25), 3),
        ([{"CPU": 8.0, "GPU": 4.0}], (1.0, 2.0), (0.0, 1.0), 1),
        ([{"CPU": 8.0, "GPU": 1.0}], (0.0, 0.0), (0.0, 1.0), 10**9),
        ([{"CPU": 8.0}, {"CPU": 2.0, "GPU": 1.0}], (1.0, 0.0), (0.0, 2.0), None),
    ],
)
def test_workers_are_counted_node_by_node(nodes, rollout, learner, expected):
    assert count_workers(nodes, Placement(rollout, learner)) == expected


@pytest.mark.parametrize(
    ("nodes", "rollout", "learner", "expected"),
    [
        ([{"CPU": 8.0, "GPU": 4.0}], (1.0, 1.0), (0.0, 1.0), 2),
        ([{"CPU": 8.0, "GPU": 2.0}], (1.0, 0.3), (0.0, 0.6), 2),
        ([{"CPU": 4.0}, {"CPU": 4.0}], (1.0, 0.0), (3.0, 0.0), 2),
        ([{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}], (1.0, 0.5), (0.0, 1.0), 0),
        ([{"CPU": 8.0, "GPU": 1.0}], (1.0, 0.0), (0.0, 1.0), None),
    ],
)
def test_a_learner_of_two_processes_takes_its_share_twice(nodes, rollout, learner, expected):
    assert count_workers(nodes, Placement(rollout, learner, 2)) == expected


def test_auto_counts_every_process_of_the_learner(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 16.0, "GPU": 2.0})
    config = load_config([], {"rollout.workers": 2, "learner.num_processes": 2})

    placement = plan_placement(config)

    assert (placement.rollout, placement.learner, placement.learner_processes) == ((1.0, 0.5), (0.0, 0.5), 2)
    assert placement.total(2) == {"CPU": 2.0, "GPU": 2.0}
    assert len(placement.bundles(2)) == 4


def test_what_can_never_be_placed_says_what_is_wanted_and_what_there_is(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 4.0})
    config = load_config([], {"rollout.workers": 6})

    with pytest.raises(ClusterError, match=r"6 workers: 6 CPU wanted, 4 available; use --workers 4"):
        await_capacity(config, plan_placement(config))


def test_enough_in_all_but_not_on_one_node_is_refused_too(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 2.0}, {"CPU": 2.0})
    config = load_config([], {"rollout.num_cpus": 1.5, "rollout.workers": 2, "cluster.placement_timeout_s": 0.1})
    await_capacity(config, plan_placement(config))
    config = load_config([], {"rollout.num_cpus": 1.3, "rollout.workers": 3, "cluster.placement_timeout_s": 0.1})

    with pytest.raises(ClusterError, match=r"3 workers: each wants 1.3 CPU and 0 GPU on one node, which 2 find"):
        await_capacity(config, plan_placement(config))


def test_a_learner_that_fits_nowhere_is_named(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 2.0})
    config = load_config([], {"learner.num_gpus": 1})

    with pytest.raises(ClusterError, match=r"never place the learner: it wants 0 CPU and 1 GPU on one node"):
        await_capacity(config, plan_placement(config))


def test_an_autoscaler_is_asked_once_for_every_actor_and_released_when_they_fit(monkeypatch):
    cluster_of(monkeypatch, {"CPU": 0.0})
    asked, grown = [], [NodeReport("head", True, {"CPU": 0.0}), NodeReport("new", False, {"CPU": 3.0, "GPU": 2.0})]
    answers = iter([grown[:1], grown[:1], grown])
    monkeypatch.setattr(cluster, "alive_nodes", lambda: next(answers))
    monkeypatch.setattr(ray.autoscaler.sdk, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")

    await_capacity(load_config([], {"rollout.workers": 3}), Placement((1.0, 0.5), (0.0, 0.0)))

    assert asked == [[{"CPU": 1.0, "GPU": 0.5}] * 3, []]


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", ":6379", "head:port"])
def test_addresses_of_another_kind_are_refused_before_any_connection(address):
    with pytest.raises(ClusterError, match="HOST:PORT"):
        check_address(address)


def test_the_token_is_found_as_ray_finds_it(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-the-home\n")
    (tmp_path / "other").write_text("of-the-path")
    on = {"RAY_AUTH_MODE": "token"}
    assert auth_token({}, tmp_path) is None
    assert auth_token(on, tmp_path) == "of-the-home"
    assert auth_token(on | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")}, tmp_path) == "of-the-path"
    assert auth_token(on | {"RAY_AUTH_TOKEN": "of-the-environment"}, tmp_path) == "of-the-environment"
    assert auth_token(on, tmp_path / "nobody") is None


def test_a_machine_without_a_ray_node_is_no_place_for_a_driver(monkeypatch):
    monkeypatch.setattr("ray._private.services.find_node_ids", set)
    with pytest.raises(ClusterError, match="this machine is no node of the cluster"):
        check_membership("head:6379")
    assert cluster_address.check_address("auto") is None
