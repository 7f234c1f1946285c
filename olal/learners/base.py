"""The Learner protocol: trajectories in, one new adapter version out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from olal.adapters import Checkpoint
from olal.types import AdapterUpdate, Trajectory


@dataclass(frozen=True, slots=True)
class LearnerStep:
    """What one update did.

    Attributes:
        update: the new adapter.
        metrics: losses, entropy, KL and the like, by name.
    """

    update: AdapterUpdate
    metrics: Mapping[str, float]


class Learner(Protocol):
    """Improves one adapter from batches of trajectories.

    The loop that calls it:

        update = learner.current()                     # version 0, or the restored one
        while training:
            step = learner.update(trajectories)        # step.update.version == previous version + 1
    """

    @property
    def version(self) -> int:
        """Version of the present adapter."""
        ...

    def current(self) -> AdapterUpdate:
        """The present adapter, ready to publish."""
        ...

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Learn from `trajectories` and advance the version by one.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        ...

    def checkpoint(self) -> Checkpoint:
        """All state, so that a restored learner continues bit for bit."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        ...
