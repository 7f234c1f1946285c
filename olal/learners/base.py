"""The Learner protocol: trajectories in, one new adapter version out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from olal.adapters import Checkpoint, SeedSpace
from olal.types import AdapterDelta, AdapterUpdate, Perturbation, Trajectory

if TYPE_CHECKING:
    from olal.learners.ranks import Ranks


@dataclass(frozen=True, slots=True)
class LearnerStep:
    """What one update did.

    Attributes:
        update: the new adapter.
        metrics: losses, entropy, KL and the like, by name.
        delta: what led there from the version before, where the learner moves along seeded directions alone.
        alarms: what looks wrong with the update, one line each, by the alarm's name; see `olal.learners.alarms`.
    """

    update: AdapterUpdate
    metrics: Mapping[str, float]
    delta: AdapterDelta | None = None
    alarms: Mapping[str, str] = field(default_factory=dict)


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


@runtime_checkable
class SeedLearner(Learner, Protocol):
    """A learner whose every update is a list of (seed, coefficient) records; `LearnerStep.delta` holds it."""

    @property
    def space(self) -> SeedSpace:
        """The rules by which records become moves."""
        ...

    def members(self) -> tuple[Perturbation, ...]:
        """The perturbed adapters that the next update's episodes are to be played under; none for the present one."""
        ...


class SharedLearner(Learner, Protocol):
    """A learner that can share its work with the same learner in other processes."""

    def join(self, ranks: Ranks) -> None:
        """Share from now on; all processes are to be handed the same trajectories and checkpoints."""
        ...
