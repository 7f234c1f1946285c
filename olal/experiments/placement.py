"""Placement: what each actor asks for, and how many of them fit on nodes of given sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from olal.config import RunConfig

Share = tuple[float, float]
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Placement:
    """What each actor asks for.

    Attributes:
        rollout: CPU and GPU shares of one rollout worker.
        learner: CPU and GPU shares of each of the learner's processes.
        learner_processes: how many of them there are.
    """

    rollout: Share
    learner: Share
    learner_processes: int = 1

    def total(self, workers: int) -> dict[str, float]:
        """What the whole run asks for."""
        return {
            "CPU": self.rollout[0] * workers + self.learner[0] * self.learner_processes,
            "GPU": self.rollout[1] * workers + self.learner[1] * self.learner_processes,
        }

    def bundles(self, workers: int) -> list[dict[str, float]]:
        """The same actor by actor, as an autoscaler is asked for them."""
        shares = [*[self.learner] * self.learner_processes, *[self.rollout] * workers]
        return [{name: need for name, need in zip(("CPU", "GPU"), share, strict=True) if need} for share in shares]


def share_out(config: RunConfig, gpus: float) -> Placement:
    """Resolve "auto": every worker and learner process gets the same share of a GPU, at most a whole one.

    A share never straddles two GPUs: with 3 actors on 2 GPUs each gets a half.
    """
    processes = config.num_learner_processes
    actors = config.rollout.workers + processes
    share = 1 / math.ceil(actors / gpus) if gpus >= 1 else 0.0
    share = math.floor(share * 100 + _SLACK) / 100
    rollout, learners = config.rollout, [stage.learner for stage in config.plan]
    return Placement(
        (rollout.num_cpus, share if rollout.num_gpus == "auto" else rollout.num_gpus),
        (
            max(learner.num_cpus for learner in learners),
            max(share if learner.num_gpus == "auto" else learner.num_gpus for learner in learners),
        ),
        processes,
    )


def can_host(node: Mapping[str, float], share: Share) -> bool:
    """Whether an actor fits on an empty node."""
    return node.get("CPU", 0.0) + _SLACK >= share[0] and node.get("GPU", 0.0) + _SLACK >= share[1]


def count_workers(nodes: Sequence[Mapping[str, float]], placement: Placement) -> int | None:
    """How many workers fit beside the learner.

    Args:
        nodes: resources of each node; where the learner fits on the first, it is there.
        placement: what each actor asks for.

    Returns:
        The number, at most a billion; None where the learner itself does not fit.
    """
    hosts = [place for place, node in enumerate(nodes) if can_host(node, placement.learner)]
    if not hosts:
        return None
    hosts = hosts[:1] if hosts[0] == 0 else hosts
    counts = [_spread(nodes, placement, host) for host in hosts]
    rooms = [
        sum(_room(node, placement.rollout, placement.learner, count) for node, count in zip(nodes, each, strict=True))
        for each in counts
        if each
    ]
    return max(rooms, default=None)


def _spread(nodes: Sequence[Mapping[str, float]], placement: Placement, host: int) -> list[int]:
    """Learner processes on each node, packed from `host` on; empty where they do not fit."""
    left, counts = placement.learner_processes, [0] * len(nodes)
    for place in (host, *(place for place in range(len(nodes)) if place != host)):
        counts[place] = min(left, _room(nodes[place], placement.learner, (0.0, 0.0), 0))
        left -= counts[place]
    return [] if left else counts


def _room(node: Mapping[str, float], share: Share, taken: Share, count: int) -> int:
    """Actors that fit on a node beside `count` others that take `taken` each."""
    by_cpu = _times(node.get("CPU", 0.0) - taken[0] * count, share[0])
    gpus = math.floor(node.get("GPU", 0.0) + _SLACK)
    if not share[1]:
        return by_cpu
    shared = _shared_gpus(taken[1], count)
    if share[1] >= 1:
        return min(by_cpu, _times(gpus - len(shared), share[1]))
    by_gpu = (gpus - len(shared)) * _times(1.0, share[1]) + sum(_times(1.0 - used, share[1]) for used in shared)
    return min(by_cpu, by_gpu)


def _shared_gpus(taken: float, count: int) -> list[float]:
    """What is taken of each GPU of which `count` actors take something; above one, an actor has whole GPUs."""
    if not taken or not count:
        return []
    if taken >= 1:
        return [1.0] * math.ceil(taken - _SLACK) * count
    fit = _times(1.0, taken)
    return [taken * fit] * (count // fit) + ([taken * (count % fit)] if count % fit else [])


def _times(there: float, share: float) -> int:
    return math.floor(there / share + _SLACK) if share else 10**9
