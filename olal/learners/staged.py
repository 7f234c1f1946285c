"""StagedLearner: several learners one after the other on one adapter, such as sft, then value, then simpo.

    version   0 ............ 5 .................. 45
              sft            ppo                        a checkpoint at version 5 is ppo's, about to start

At a boundary the adapter, the version and, where both have one of the same make, the critic with the unit of its
values are handed over; the optimizer starts afresh.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from olal.adapters import Checkpoint, SeedSpace
from olal.learners.base import LearnerStep, SeedLearner, SharedLearner
from olal.learners.ranks import Ranks
from olal.types import AdapterUpdate, Perturbation, Trajectory

_CRITIC = "value."
_CARRIED = ("return_variance", "digests")


class StagedLearner:
    """See `olal.learners.base.Learner` for the contract."""

    def __init__(self, learners: Sequence[SharedLearner], updates: Sequence[int]) -> None:
        """Start with the first stage.

        Args:
            learners: one per stage, none of which has learned anything.
            updates: of each stage.
        """
        self._learners = list(learners)
        self._ends = list(accumulate(updates))
        self._fresh = [learner.checkpoint() for learner in learners]
        self._stage = 0

    def join(self, ranks: Ranks) -> None:
        """Share every stage with the same learners in other processes; see `SharedLearner`."""
        for learner in self._learners:
            learner.join(ranks)

    @property
    def version(self) -> int:
        """Version of the present adapter, counted over all stages."""
        return self._learners[self._stage].version

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return self._learners[self._stage].current()

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Learn by the present stage; after its last update the next one takes over.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        learner = self._learners[self._stage]
        step = learner.update(trajectories)
        if self._stage_at(learner.version) != self._stage:
            self._stage += 1
            self._learners[self._stage].restore(hand_over(learner.checkpoint(), self._fresh[self._stage]))
        return step

    def checkpoint(self) -> Checkpoint:
        """State of the present stage; the stage itself follows from the version."""
        return self._learners[self._stage].checkpoint()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`, in whichever stage it was written."""
        self._stage = self._stage_at(checkpoint.version)
        self._learners[self._stage].restore(checkpoint)

    def _stage_at(self, version: int) -> int:
        return min(sum(version >= end for end in self._ends), len(self._ends) - 1)


class SeedStagedLearner(StagedLearner):
    """Stages of which some are seeds. See `olal.learners.base.SeedLearner` for the contract.

    A version that a gradient stage made has no delta: it is published whole, and the seed log goes on from it.
    """

    @property
    def space(self) -> SeedSpace:
        """The rules of the present stage, or of some stage where the present one makes no records."""
        learners = [self._learners[self._stage], *self._learners]
        return next(learner.space for learner in learners if isinstance(learner, SeedLearner))

    def members(self) -> tuple[Perturbation, ...]:
        """Those of the present stage."""
        learner = self._learners[self._stage]
        return learner.members() if isinstance(learner, SeedLearner) else ()


def chain(learners: Sequence[SharedLearner], updates: Sequence[int]) -> StagedLearner:
    """Put stages in a row.

    Args:
        learners: one per stage, none of which has learned anything.
        updates: of each stage.
    """
    kind = SeedStagedLearner if any(isinstance(learner, SeedLearner) for learner in learners) else StagedLearner
    return kind(learners, updates)


def hand_over(former: Checkpoint, fresh: Checkpoint) -> Checkpoint:
    """What a stage starts from.

    Args:
        former: the end of the stage before.
        fresh: the stage's own learner before it has learned anything.
    """
    critic = {name: array for name, array in former.arrays.items() if name.startswith(_CRITIC)}
    shapes = {name: array.shape for name, array in critic.items()}
    own = {name: array.shape for name, array in fresh.arrays.items() if name.startswith(_CRITIC)}
    carried = {name: former.state[name] for name in _CARRIED if name in former.state and name in fresh.state}
    if not own or shapes != own:
        critic = {}
        carried.pop("return_variance", None)
    return Checkpoint(former.version, former.flat, {**fresh.arrays, **critic}, {**fresh.state, **carried})
