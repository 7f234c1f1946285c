"""diagnose_cluster: whether a Ray cluster can hold a run, looked at from a node of it before anything is launched."""

from __future__ import annotations

from pathlib import Path

from olal.config import RunConfig
from olal.errors import ClusterError
from olal.experiments.cluster import await_capacity, connected, plan_placement
from olal.experiments.cluster_checks import check_answers, check_object_store, check_run_dir, check_versions
from olal.experiments.finding import Finding
from olal.experiments.node_report import ask_nodes


def diagnose_cluster(config: RunConfig, address: str, run_dir: Path) -> list[Finding]:
    """Attach to the cluster and look at every node; takes a few seconds, and the placement timeout where room lacks.

    Args:
        config: of the run there should be room for.
        address: HOST:PORT, or auto.
        run_dir: where the run would be written.

    Returns:
        Findings in the order in which a launch would stumble over them; one alone where nothing answers.
    """
    try:
        with connected(config, address):
            placement = plan_placement(config)
            reports = ask_nodes(run_dir)
            return [
                check_answers(reports),
                check_versions(reports),
                _check_room(config),
                check_run_dir(reports, run_dir, placement),
                check_object_store(reports, 0),
            ]
    except ClusterError as error:
        what, _, advice = str(error).partition("; ")
        return [Finding("cluster", what, "missing", advice)]
    except OSError as error:
        return [Finding("cluster run directory", f"{error.strerror}: {run_dir}", "missing", "choose another --run-dir")]


def _check_room(config: RunConfig) -> Finding:
    name, workers = "cluster room", config.rollout.workers
    placement = plan_placement(config)
    try:
        await_capacity(config, placement)
    except ClusterError as error:
        what, _, advice = str(error).partition("; ")
        return Finding(name, what, "missing", advice)
    shares = f"{placement.rollout[0]:g} CPU and {placement.rollout[1]:g} GPU each"
    return Finding(name, f"{workers} workers of {shares}, and the learner", "ok")
