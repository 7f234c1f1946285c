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
        learner: CPU and GPU shares of the learner.
    """

    rollout: Share
    learner: Share

    def total(self, workers: int) -> dict[str, float]:
        """What the whole run asks for."""
        return {
            "CPU": self.rollout[0] * workers + self.learner[0],
            "GPU": self.rollout[1] * workers + self.learner[1],
        }

    def bundles(self, workers: int) -> list[dict[str, float]]:
        """The same actor by actor, as an autoscaler is asked for them."""
        shares = [self.learner, *[self.rollout] * workers]
        return [{name: need for name, need in zip(("CPU", "GPU"), share, strict=True) if need} for share in shares]


def share_out(config: RunConfig, gpus: float) -> Placement:
    """Resolve "auto": every worker and the learner get the same share of a GPU, at most a whole one.

    A share never straddles two GPUs: with 3 actors on 2 GPUs each gets a half.
    """
    actors = config.rollout.workers + 1
    share = 1 / math.ceil(actors / gpus) if gpus >= 1 else 0.0
    share = math.floor(share * 100 + _SLACK) / 100
    rollout, learners = config.rollout, [stage.learner for stage in config.plan]
    return Placement(
        (rollout.num_cpus, share if rollout.num_gpus == "auto" else rollout.num_gpus),
        (
            max(learner.num_cpus for learner in learners),
            max(share if learner.num_gpus == "auto" else learner.num_gpus for learner in learners),
        ),
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
        The number, at most a billion; None where the learner itself fits nowhere.
    """
    hosts = [place for place, node in enumerate(nodes) if can_host(node, placement.learner)]
    if not hosts:
        return None
    hosts = hosts[:1] if hosts[0] == 0 else hosts
    return max(
        sum(
            _room(node, placement.rollout, placement.learner if place == host else (0.0, 0.0))
            for place, node in enumerate(nodes)
        )
        for host in hosts
    )


def _room(node: Mapping[str, float], share: Share, taken: Share) -> int:
    """Workers that fit on a node of which something is taken."""
    by_cpu = _times(node.get("CPU", 0.0) - taken[0], share[0])
    gpus = math.floor(node.get("GPU", 0.0) + _SLACK)
    if not share[1]:
        return by_cpu
    if share[1] >= 1:
        return min(by_cpu, _times(gpus - math.ceil(taken[1]), share[1]))
    split = math.ceil(taken[1] - _SLACK)  # GPUs that are taken in whole or in part
    by_gpu = (gpus - split) * _times(1.0, share[1]) + _times(split - taken[1], share[1])
    return min(by_cpu, by_gpu)


def _times(there: float, share: float) -> int:
    return math.floor(there / share + _SLACK) if share else 10**9
