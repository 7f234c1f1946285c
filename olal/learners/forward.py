"""ForwardLearner: what learners share that move an adapter along seeded directions and run no backward pass.

update(trajectories)
admission      what would poison the adapter is dropped and counted, by the same gate as everywhere
learn          the subclass: moves of the master                         -> records
alarms         a number that is not finite takes the whole update back
commit         the records, if any are left, are the way to the next version
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from olal.adapters import Checkpoint, SeedMaster, SeedSpace
from olal.learners import alarms
from olal.learners.admission import Gate
from olal.learners.base import LearnerStep
from olal.learners.schedule import LinearDecay
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Perturbation, Trajectory


class ForwardLearner(ABC):
    """A learner whose every update is a list of records. See `olal.learners.base.SeedLearner` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        learning_rate: LinearDecay,
        *,
        max_staleness: int,
        anchor_decay: float,
        space: SeedSpace | None,
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank.
            learning_rate: length of a step along a direction one spread better, by version.
            max_staleness: most versions that acting may lie behind learning.
            anchor_decay: share of the distance from the untrained adapter that each update gives back.
            space: the rules of records, with the bank's initial adapter as anchor; None lets everything move.
        """
        self._network = network
        self._learning_rate = learning_rate
        self._max_staleness, self._anchor_decay = max_staleness, anchor_decay
        self.space = space or SeedSpace(network.bank.layout, network.bank.initial)
        self._master = SeedMaster(self.space)
        self._digests: dict[int, str] = {}

    # ------------------------------------------------------------------ for subclasses

    @abstractmethod
    def learn(self, trajectories: Sequence[Trajectory]) -> tuple[dict[str, float], alarms.Alarms]:
        """Call `begin`, then move the master along what some admitted trajectories say; returns metrics and alarms."""

    def gate(self) -> Gate:
        """What is admitted: episodes under adapters that were published lately."""
        return Gate(self.version, self._max_staleness, self._network.base.vocabulary.size, self._digests)

    def begin(self) -> None:
        """Begin to move, back towards the untrained adapter first where that is asked for."""
        self._master.begin(keep=1 - self._anchor_decay)

    # ------------------------------------------------------------------ the protocol

    @property
    def version(self) -> int:
        """Version of the present adapter."""
        return self._master.version

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return self._master.current()

    def members(self) -> tuple[Perturbation, ...]:
        """None: episodes are played under the present adapter."""
        return ()

    @torch.inference_mode()
    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """One update; if any number is not finite, the adapter stays as it was.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
        """
        oldest = self.version - self._max_staleness
        known = {version: digest for version, digest in self._digests.items() if version >= oldest}
        self._digests = known | {self.version: self._master.digest}
        before = self.checkpoint()
        admission = self.gate().admit(trajectories)
        with np.errstate(over="ignore", invalid="ignore"):  # the alarm tells
            metrics, raised = self.learn(admission.kept) if admission.kept else ({"num_decisions": 0.0}, {})
        raised |= alarms.nothing_admitted(len(trajectories), admission.dropped)
        after = self.checkpoint()
        broken = alarms.non_finite(metrics, {"adapter": after.flat, **after.arrays})
        if broken:
            self.restore(before)
        delta = self._master.commit()
        steps = int(np.count_nonzero(delta.records["coefficient"]))  # of moves by nothing other alarms tell
        raised |= broken or alarms.below_rounding(before.flat, after.flat, mantissa_bits=23, steps=steps)
        metrics |= {f"dropped_{reason}": float(count) for reason, count in admission.dropped.items()}
        return LearnerStep(self.current(), metrics, delta, raised)

    def checkpoint(self) -> Checkpoint:
        """The adapter and the digests of what was published; a subclass adds its own."""
        state: dict[str, Any] = {"digests": {str(version): digest for version, digest in self._digests.items()}}
        return Checkpoint(self.version, self._master.flat, {}, state)  # a move makes another array of it

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`.

        Raises:
            AdapterMismatch: its adapter has another layout.
            CheckpointCorrupt: it was written by another kind of learner.
        """
        self._master.restore(checkpoint.version, checkpoint.flat)
        self._digests = {int(version): digest for version, digest in checkpoint.state.get("digests", {}).items()}
