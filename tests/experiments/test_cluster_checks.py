"""Nodes that would spoil a run are found, with what mends them; what does no harm is only said."""

from __future__ import annotations

import contextlib

import pytest

from olal.config import load_config
from olal.errors import ClusterError
from olal.experiments import cluster_checks, doctor_cluster, node_report
from olal.experiments.cluster_checks import (
    check_answers,
    check_object_store,
    check_run_dir,
    check_versions,
    require_object_store,
    require_sound_nodes,
)
from olal.experiments.node_report import NodeReport, look
from olal.experiments.placement import Placement

LIGHT = Placement((1.0, 0.0), (0.0, 0.0))
HEAVY = Placement((1.0, 0.0), (0.0, 1.0))
VERSIONS = {"Python": "3.12.1", "olal": "0.1.0", "torch": "2.13.0"}


def node(name="head", **changes):
    given = {"is_own": name == "head", "resources": {"CPU": 4.0}, "versions": VERSIONS, "sees_run_dir": True}
    return NodeReport(name, **(given | changes))


def test_a_node_without_olal_is_named_with_what_it_said():
    finding = check_answers([node(), node("b", problem="ModuleNotFoundError: No module named 'olal'")])
    assert finding.status == "missing"
    assert "b: ModuleNotFoundError" in finding.value
    assert check_answers([node(), node("b")]).status == "ok"


def test_packages_must_agree_up_to_their_build():
    on_gpu = node("b", versions=VERSIONS | {"torch": "2.13.0+cpu"})
    older = node("c", versions=VERSIONS | {"olal": "0.0.9"})
    bare = node("d", versions={"Python": "3.12.1", "olal": "0.1.0"})
    assert check_versions([node(), on_gpu]).status == "ok"
    assert check_versions([node(), older]).value == "olal 0.1.0 on head, 0.0.9 on c"
    assert check_versions([node(), bare]).value == "torch is not on d"


@pytest.mark.parametrize(
    ("placement", "own", "other", "status"),
    [
        (LIGHT, {"CPU": 0.0}, {"CPU": 8.0}, "warn"),
        (HEAVY, {"CPU": 0.0}, {"CPU": 8.0, "GPU": 1.0}, "missing"),
        (HEAVY, {"CPU": 0.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0}, "warn"),
    ],
)
def test_a_run_directory_must_be_shared_where_the_learner_may_go(tmp_path, placement, own, other, status):
    blind = node("b", resources=other, sees_run_dir=False)
    finding = check_run_dir([node(resources=own), blind], tmp_path, placement)
    assert (finding.status, "is not shared with b" in finding.value) == (status, True)


def test_a_shared_run_directory_is_fine_anywhere(tmp_path):
    assert check_run_dir([node(), node("b", resources={"GPU": 1.0})], tmp_path, HEAVY).status == "ok"


def test_an_adapter_larger_than_the_smallest_object_store_is_refused(monkeypatch):
    nodes = [node(resources={"object_store_memory": 2.0**30}), node("b", resources={"object_store_memory": 2.0**26})]
    assert check_object_store(nodes, 2**26).status == "ok"
    monkeypatch.setattr(cluster_checks, "alive_nodes", lambda: nodes)
    with pytest.raises(ClusterError, match=r"64 MiB on b, the adapter has 65 MiB; .*--object-store-memory=1000000000"):
        require_object_store(65 * 2**20)


def test_launch_asks_the_nodes_only_where_there_are_several(monkeypatch, tmp_path):
    older = node("b", versions=VERSIONS | {"olal": "0.0.9"})
    monkeypatch.setattr(cluster_checks, "ask_nodes", lambda run_dir: [node(), older])
    monkeypatch.setattr(cluster_checks, "alive_nodes", lambda: [node()])
    require_sound_nodes(LIGHT, tmp_path)
    monkeypatch.setattr(cluster_checks, "alive_nodes", lambda: [node(), older])
    with pytest.raises(ClusterError, match=r"olal 0.1.0 on head, 0.0.9 on b"):
        require_sound_nodes(LIGHT, tmp_path)


def test_a_node_looks_for_the_file_and_at_its_packages(tmp_path):
    (tmp_path / "probe").touch()
    seen, missed = look(str(tmp_path / "probe")), look(str(tmp_path / "none"))
    assert (seen["sees_run_dir"], missed["sees_run_dir"]) == (True, False)
    assert {"Python", "olal", "ray", "llguidance"} <= set(seen["versions"])


def test_the_probe_leaves_nothing_behind(tmp_path):
    with node_report._probe(tmp_path / "runs" / "new") as probe:
        assert probe.is_file()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    with node_report._probe(tmp_path / "runs"):
        pass
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_a_doctor_who_reaches_no_cluster_says_so_and_nothing_more(tmp_path):
    [finding] = doctor_cluster.diagnose_cluster(load_config([]), "127.0.0.1:9", tmp_path)
    assert (finding.name, finding.status) == ("cluster", "missing")
    assert finding.value.startswith("no Ray cluster answers")
    assert finding.advice.startswith("check --address")


def test_a_run_directory_that_cannot_be_written_is_a_finding(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(doctor_cluster, "connected", lambda config, address: contextlib.nullcontext())
    monkeypatch.setattr(doctor_cluster, "plan_placement", lambda config: LIGHT)
    monkeypatch.setattr(node_report.ray, "get_runtime_context", lambda: type("Context", (), {"get_node_id": str})())
    monkeypatch.setattr(node_report.ray, "nodes", list)
    [finding] = doctor_cluster.diagnose_cluster(load_config([]), "auto", tmp_path / "file" / "runs")
    assert (finding.name, finding.status) == ("cluster run directory", "missing")
    assert finding.value.startswith("Not a directory")
