"""What can be wrong with the nodes of a cluster: found before training starts, one line each, with what mends it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from olal.errors import ClusterError
from olal.experiments.finding import Finding
from olal.experiments.node_report import NodeReport, alive_nodes, ask_nodes
from olal.experiments.placement import Placement, can_host

_MIB = 2**20
_SAME_IMAGE = "start every node from one image, or install olal with the same constraints.txt and Python on each"


def require_sound_nodes(placement: Placement, run_dir: Path) -> None:
    """Ask every node of a cluster of several what launch depends on.

    Raises:
        ClusterError: a node does not answer, has other packages, or would write where this one does not read.
    """
    if len(alive_nodes()) == 1:
        return
    reports = ask_nodes(run_dir)
    for finding in (check_answers(reports), check_versions(reports), check_run_dir(reports, run_dir, placement)):
        if finding.status == "missing":
            raise ClusterError(f"{finding.name}: {finding.value}; {finding.advice}")


def require_object_store(adapter_bytes: int) -> None:
    """Every node holds an adapter in shared memory; one that does not fit goes over its disk, many times slower.

    Raises:
        ClusterError: some node's object store is smaller than the adapter.
    """
    finding = check_object_store(alive_nodes(), adapter_bytes)
    if finding.status == "missing":
        raise ClusterError(f"{finding.name}: {finding.value}; {finding.advice}")


def check_answers(reports: Sequence[NodeReport]) -> Finding:
    """Whether every node runs olal's code."""
    silent = [report for report in reports if report.problem]
    if silent:
        value = f"{silent[0].name}: {silent[0].problem}"
        return Finding("cluster nodes", value, "missing", f"{_SAME_IMAGE} ({len(silent)} of {len(reports)} nodes)")
    return Finding("cluster nodes", f"{len(reports)} answer", "ok")


def check_versions(reports: Sequence[NodeReport]) -> Finding:
    """One version of everything on every node; a build suffix such as +cpu may differ."""
    name = "cluster packages"
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for report in reports:
        for package in report.versions:
            found[package].setdefault(report.versions[package].partition("+")[0], report.name)
    apart = [
        f"{package} " + ", ".join(f"{version} on {node}" for version, node in versions.items())
        for package, versions in found.items()
        if len(versions) > 1
    ]
    if apart:
        return Finding(name, "; ".join(apart), "missing", _SAME_IMAGE)
    lacking = [
        f"{package} is not on {report.name}"
        for package in found
        for report in reports
        if not report.problem and package not in report.versions
    ]
    if lacking:
        return Finding(name, lacking[0], "missing", _SAME_IMAGE)
    return Finding(name, "the same on every node", "ok")


def check_run_dir(reports: Sequence[NodeReport], run_dir: Path, placement: Placement) -> Finding:
    """Whether the run directory is one and the same wherever an actor that writes to it may be placed.

    Replay buffer and learner run beside this process where they fit; the learner alone may not.
    """
    name = "cluster run directory"
    blind = [report.name for report in reports if not report.problem and not report.sees_run_dir]
    if not blind:
        return Finding(name, f"{run_dir} is shared by every node", "ok")
    value = f"{run_dir} is not shared with {blind[0]}" + (f" and {len(blind) - 1} more" if len(blind) > 1 else "")
    fits_here = any(report.is_own and can_host(report.resources, placement.learner) for report in reports)
    elsewhere = [
        report for report in reports if not report.sees_run_dir and can_host(report.resources, placement.learner)
    ]
    if elsewhere and not fits_here:
        return Finding(
            name, value, "missing",
            "the learner fits on no node but those and would write there: put --run-dir on a shared file system, or "
            "give this node what learner.num_gpus and learner.num_cpus ask for",
        )  # fmt: skip
    advice = "no harm while the learner fits on this node; --run-dir on a shared file system can be resumed anywhere"
    return Finding(name, value, "warn", advice)


def check_object_store(reports: Sequence[NodeReport], adapter_bytes: int) -> Finding:
    """Whether the smallest object store holds an adapter."""
    name = "object store"
    smallest = min(reports, key=lambda report: report.object_store_bytes)
    capacity = smallest.object_store_bytes
    if adapter_bytes > capacity:
        value = f"{capacity / _MIB:.0f} MiB on {smallest.name}, the adapter has {adapter_bytes / _MIB:.0f} MiB"
        advice = f"start Ray there with --object-store-memory={max(4 * adapter_bytes, 10**9)}, or lower adapter.rank"
        return Finding(name, value, "missing", advice)
    return Finding(name, f"{capacity / _MIB:.0f} MiB on the smallest node", "ok")
