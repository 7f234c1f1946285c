"""LearnerPeerActor: one more process of a learner, which does what the first one does and tells what came of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from olal.adapters import Checkpoint
from olal.errors import OlalError
from olal.types import Trajectory

if TYPE_CHECKING:
    from olal.learners.base import Learner, SharedLearner
    from olal.learners.process_group import Meeting, ProcessGroup


class LearnerPeerActor:
    """Thin shell over a learner that has joined others; every call answers with the digest of all it has learned."""

    def __init__(self, make_learner: Callable[[], tuple[SharedLearner, Any]]) -> None:
        """Keep the factory; `ready` builds here, where model and learner will live.

        Of an error raised in a constructor Ray would hand on only the text.
        """
        self._make_learner = make_learner
        self._group: ProcessGroup | None = None

    @cached_property
    def _learner(self) -> SharedLearner:
        return self._make_learner()[0]

    def ready(self) -> str:
        """Build what is not built yet, and return the address of this node."""
        _ = self._learner
        return ray.util.get_node_ip_address()

    def pid(self) -> int:
        """Of this process."""
        return os.getpid()

    def join(self, meeting: Meeting) -> str:
        """Meet the other processes."""
        from olal.learners.process_group import ProcessGroup

        self._group = ProcessGroup(meeting)
        self._learner.join(self._group)
        return learned_digest(self._learner)

    def update(self, trajectories: Sequence[Trajectory]) -> str:
        """Learn together with the others."""
        try:
            self._learner.update(trajectories)
        except OlalError:
            raise  # of the episodes, and so raised by every process alike
        except BaseException:
            if self._group is not None:
                self._group.close()  # or the others would wait for this one
            raise
        return learned_digest(self._learner)

    def restore(self, checkpoint: Checkpoint) -> str:
        """Continue from `checkpoint`."""
        self._learner.restore(checkpoint)
        return learned_digest(self._learner)


def learned_digest(learner: Learner) -> str:
    """Of all that a learner would go on from: adapter, critic, optimizers, random state.

    Sums in float64, as of MeZO's ridge regression, are left out: their last bits depend on threads, and every rank
    goes on from those of the first.
    """
    checkpoint = learner.checkpoint()
    digest = hashlib.blake2b(digest_size=8)
    arrays = [checkpoint.arrays[name] for name in sorted(checkpoint.arrays)]
    for array in (checkpoint.flat, *(array for array in arrays if array.dtype != np.float64)):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(json.dumps([checkpoint.version, checkpoint.state], sort_keys=True).encode())
    return digest.hexdigest()
