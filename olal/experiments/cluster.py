"""The Ray cluster of a run: start one here or attach to one, and see at once whether it can hold the actors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from olal.config import RunConfig
from olal.errors import ClusterError

NAMESPACE = "olal"
_CONNECT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Placement:
    """What each actor asks for.

    Attributes:
        rollout: CPU and GPU shares of one rollout worker.
        learner: CPU and GPU shares of the learner.
    """

    rollout: tuple[float, float]
    learner: tuple[float, float]

    def total(self, workers: int) -> dict[str, float]:
        """What the whole run asks for."""
        return {
            "CPU": self.rollout[0] * workers + self.learner[0],
            "GPU": self.rollout[1] * workers + self.learner[1],
        }


@contextlib.contextmanager
def connected(config: RunConfig, address: str | None) -> Iterator[str]:
    """Attach to the cluster at `address` (or $RAY_ADDRESS), else start Ray on this machine; yields the dashboard's URL.

    Raises:
        ClusterError: nothing answers at the address.
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
            _check_address(target)
            context = ray.init(address=target, **options)
    except ClusterError:
        raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ClusterError(
            f"no Ray cluster answers ({reason}); check --address, or leave it out to start Ray here: {target}"
        ) from error
    try:
        url = context.dashboard_url
        yield f"http://{url}" if url else ""
    finally:
        ray.shutdown()


def _check_address(target: str) -> None:
    """Refuse at once what Ray would wait minutes for.

    Raises:
        ClusterError: the address is of another kind than HOST:PORT.
        OSError: nothing listens there.
    """
    if target == "auto":
        return
    host, _, port = target.rpartition(":")
    if "://" in target or not host or not port.isdigit():
        raise ClusterError(f"an address is HOST:PORT of the head node's Ray port, or auto: {target}")
    socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()


def plan_placement(config: RunConfig) -> Placement:
    """Resolve "auto": all GPUs of the cluster, shared evenly by the workers and the learner, at most one each."""
    gpus = float(ray.cluster_resources().get("GPU", 0.0))
    share = min(1.0, gpus / (config.rollout.workers + 1))
    share = share if share == 1.0 else int(share * 100) / 100
    rollout, learners = config.rollout, [stage.learner for stage in config.plan]
    return Placement(
        (rollout.num_cpus, share if rollout.num_gpus == "auto" else rollout.num_gpus),
        (
            max(learner.num_cpus for learner in learners),
            max(share if learner.num_gpus == "auto" else learner.num_gpus for learner in learners),
        ),
    )


def await_capacity(config: RunConfig, placement: Placement) -> None:
    """Return when the cluster has room for every actor; an autoscaler gets `cluster.placement_timeout_s` to grow.

    Raises:
        ClusterError: it has not within that time; says what is wanted and what there is.
    """
    wanted = placement.total(config.rollout.workers)
    deadline = time.monotonic() + config.cluster.placement_timeout_s
    while True:
        there = ray.cluster_resources()
        lacking = {name: need for name, need in wanted.items() if need > there.get(name, 0.0) + 1e-9}
        if not lacking:
            return
        if time.monotonic() > deadline or not _can_grow():
            detail = ", ".join(
                f"{need:g} {name} wanted, {there.get(name, 0.0):g} available" for name, need in lacking.items()
            )
            fits = int(there.get("CPU", 0.0) / config.rollout.num_cpus) if config.rollout.num_cpus else 0
            raise ClusterError(
                f"the cluster can never place {config.rollout.workers} workers: {detail}; "
                f"use --workers {max(fits, 1)}, add nodes, or lower rollout.num_cpus: {config.rollout.num_cpus:g}"
            )
        time.sleep(0.5)


def _can_grow() -> bool:
    """Whether this is a cluster of several machines or one with an autoscaler, where more may still come."""
    return len(ray.nodes()) > 1 or bool(os.environ.get("RAY_ADDRESS"))
