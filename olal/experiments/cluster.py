"""The Ray cluster of a run: start one here or attach to one, and see at once whether it can hold the actors."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence

import ray

from olal.config import RunConfig
from olal.errors import ClusterError
from olal.experiments.cluster_address import check_address
from olal.experiments.node_report import NodeReport, alive_nodes
from olal.experiments.placement import Placement, count_workers, share_out

NAMESPACE = "olal"


@contextlib.contextmanager
def connected(config: RunConfig, address: str | None) -> Iterator[str]:
    """Attach to the cluster at `address` (or $RAY_ADDRESS), else start Ray on this machine; yields the dashboard's URL.

    Inside a Ray job $RAY_ADDRESS is the cluster that runs the job.

    Raises:
        ClusterError: nothing answers at the address, or not to this token, Ray or Python.
    """
    target = address or os.environ.get("RAY_ADDRESS")
    options = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if target in (None, "local"):
            dashboard = config.cluster.dashboard
            context = ray.init(
                address="local",
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                dashboard_port=config.cluster.dashboard_port,
                **options,
            )
        else:
            check_address(target)
            context = ray.init(address=target, **options)
    except ClusterError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raise _explained(error, str(target)) from error
    try:
        url = context.dashboard_url
        yield f"http://{url}" if url else ""
    finally:
        ray.shutdown()


def _explained(error: Exception, target: str) -> ClusterError:
    """Say in one line what Ray says in many."""
    text = str(error).strip()
    if text.startswith("Version mismatch"):
        there_and_here = re.findall(r"(Ray|Python): (\S+)", text)
        pairs = [" ".join(pair) for pair in there_and_here]
        return ClusterError(
            f"the cluster runs {', '.join(pairs[:2])}, this process {', '.join(pairs[2:])}; install the same here, or "
            f"run the command on a node of the cluster: {target}"
        )
    reason = (text.splitlines() or [type(error).__name__])[0]
    return ClusterError(
        f"no Ray cluster answers ({reason}); check --address, or leave it out to start Ray here: {target}"
    )


def plan_placement(config: RunConfig) -> Placement:
    """Resolve "auto" by the GPUs that the cluster has now."""
    return share_out(config, float(ray.cluster_resources().get("GPU", 0.0)))


def await_capacity(config: RunConfig, placement: Placement) -> None:
    """Return when the cluster has room for every actor; an autoscaler gets `cluster.placement_timeout_s` to grow.

    Raises:
        ClusterError: it has not within that time; says what is wanted and what there is.
    """
    workers = config.rollout.workers
    deadline = time.monotonic() + config.cluster.placement_timeout_s
    asked = False
    try:
        while True:
            nodes = sorted(alive_nodes(), key=lambda node: not node.is_own)
            room = count_workers([node.resources for node in nodes], placement)
            if room is not None and room >= workers:
                return
            if time.monotonic() > deadline or not _can_grow(nodes):
                raise ClusterError(_lack(config, placement, nodes, room))
            if not asked:
                _ask_for(placement.bundles(workers))
                asked = True
            time.sleep(0.5)
    finally:
        if asked:
            _ask_for([])  # from here on the actors themselves are the demand


def _ask_for(bundles: Sequence[dict[str, float]]) -> None:
    """Tell the autoscaler, if there is one, what is wanted; it grows for nothing that was not asked for."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[bundle for bundle in bundles if bundle])


def _lack(config: RunConfig, placement: Placement, nodes: Sequence[NodeReport], room: int | None) -> str:
    """What is wanted, what there is, and what helps."""
    workers, rollout, learner = config.rollout.workers, placement.rollout, placement.learner
    there = {name: sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    short = [
        f"{need:g} {name} wanted, {there[name]:g} available"
        for name, need in placement.total(workers).items()
        if need > there[name] + 1e-9
    ]
    timeout_s = config.cluster.placement_timeout_s
    wait = f"; where nodes are still starting, raise cluster.placement_timeout_s: {timeout_s:g}"
    if room is None:
        ask = f"{learner[0]:g} CPU and {learner[1]:g} GPU on one node"
        ask += f" for each of {placement.learner_processes} processes" if placement.learner_processes > 1 else ""
        less = "num_cpus, num_gpus or num_processes" if placement.learner_processes > 1 else "num_cpus or num_gpus"
        return f"the cluster can never place the learner: it wants {ask}; lower learner.{less}{wait}"
    detail = ", ".join(short) or f"each wants {rollout[0]:g} CPU and {rollout[1]:g} GPU on one node, which {room} find"
    return (
        f"the cluster can never place {workers} workers: {detail}; use --workers {max(room, 1)}, add nodes, or lower "
        f"rollout.num_cpus{wait}"
    )


def _can_grow(nodes: Sequence[NodeReport]) -> bool:
    """Whether this is a cluster of several machines or one with an autoscaler, where more may still come."""
    return len(nodes) > 1 or bool(os.environ.get("RAY_ADDRESS"))
