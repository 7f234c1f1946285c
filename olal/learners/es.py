"""Evolution strategies on a LoRA adapter: whole episodes under perturbed adapters, and nothing but their returns.

Salimans et al. 2017, "Evolution strategies as a scalable alternative to reinforcement learning": with n directions z_i
and returns F(theta + sigma z_i), F(theta - sigma z_i), theta moves by rate / n sum_i (u_i+ - u_i-) / 2 z_i. The
utilities u are centred ranks (their section 2) or z-scores of the returns, so sigma and the unit of rewards drop out of
the step. A member is the record (seed, +-sigma), which a rollout worker applies to the adapter it has: 12 bytes turn it
into any member. All members play the same episodes with the same draws, so what their returns differ by is the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.adapters import Checkpoint, SeedSpace
from olal.errors import CheckpointCorrupt
from olal.learners import alarms
from olal.learners.admission import Gate
from olal.learners.forward import ForwardLearner
from olal.learners.schedule import LinearDecay
from olal.models.policy_network import PolicyNetwork
from olal.types import Perturbation, Trajectory


@dataclass(frozen=True, slots=True)
class ESSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    sigma: float = 0.05
    directions: int = 8
    shaping: Literal["ranks", "zscore"] = "ranks"
    anchor_decay: float = 0.0


class ESLearner(ForwardLearner):
    """See `olal.learners.base.SeedLearner` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        settings: ESSettings,
        learning_rate: LinearDecay,
        *,
        seed: int,
        space: SeedSpace | None = None,
    ) -> None:
        """Start from the bank's initial adapter.

        Args:
            network: base model and bank; the model is never run here.
            settings: hyper-parameters.
            learning_rate: length of a step along a direction one spread of returns better, by version.
            seed: of the directions.
            space: the rules of records; None lets everything move.
        """
        super().__init__(network, learning_rate, max_staleness=0, anchor_decay=settings.anchor_decay, space=space)
        self._settings = settings
        self._seed = seed

    def gate(self) -> Gate:
        """Admit the episodes of this version's members alone, each under the very adapter that the member is."""
        digests = {
            member: self.space.layout.digest(self.space.moved(self._master.flat, member.record))
            for member in self.members()
        }
        return replace(super().gate(), members=digests, needs_logprobs=False)

    def members(self) -> tuple[Perturbation, ...]:
        """Plus and minus of every direction of the next update, neighbours; a function of seed and version alone."""
        sigma = float(np.float32(self._settings.sigma))
        return tuple(Perturbation(int(seed), sign * sigma) for seed in self._directions() for sign in (1, -1))

    def learn(self, trajectories: Sequence[Trajectory]) -> tuple[dict[str, float], alarms.Alarms]:
        """Move along the directions whose members did better.

        A direction of which a sign has no whole episode is left out.
        """
        returns = self._returns(trajectories)
        both = np.isfinite(returns).all(axis=1)
        played = returns[both]
        self.begin()
        if not len(played):
            return {"directions_used": 0.0}, alarms.no_pair(len(returns))
        spread = float(played.std())
        if spread > 0:
            utilities = shape_returns(played.ravel(), self._settings.shaping).reshape(-1, 2)
            slopes = (utilities[:, 0] - utilities[:, 1]) / (2 * len(utilities))
            self._master.move(self._directions()[both], self._learning_rate.at(self.version) * slopes)
        metrics = {
            "member_return_spread": spread,
            "member_return_best": float(played.max()),
            "directions_used": float(len(played)),
        }
        gaps = played[:, 0] - played[:, 1]
        return metrics, alarms.no_signal(played - played.mean()) or alarms.losses_agree(gaps)

    def checkpoint(self) -> Checkpoint:
        """The adapter; all else follows from seed and version."""
        common = super().checkpoint()
        return Checkpoint(common.version, common.flat, {}, {**common.state, "seed": self._seed})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`.

        Raises:
            AdapterMismatch: its adapter has another layout.
            CheckpointCorrupt: it was written by another kind of learner.
        """
        if "seed" not in checkpoint.state:
            raise CheckpointCorrupt("the checkpoint was written by another kind of learner; missing: seed")
        super().restore(checkpoint)
        self._seed = checkpoint.state["seed"]

    def _directions(self) -> NDArray[np.uint64]:
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, self.version])))
        return random.integers(0, 2**64, self._settings.directions, dtype=np.uint64)

    def _returns(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """Mean return of every member, float64 of shape (directions, 2); NaN where it finished no episode."""
        played: dict[Perturbation, list[float]] = {member: [] for member in self.members()}
        for trajectory in trajectories:
            if trajectory.task.perturbation is not None:  # the gate lets no one in who is not a member
                played[trajectory.task.perturbation].append(trajectory.episode_return)
        means = [float(np.mean(returns)) if returns else float("nan") for returns in played.values()]
        return np.array(means).reshape(-1, 2)


def shape_returns(returns: NDArray[np.float64], shaping: Literal["ranks", "zscore"]) -> NDArray[np.float64]:
    """Utilities of the members, with mean 0 and deviation 1.

    Args:
        returns: shape (members,), not all equal.
        shaping: "ranks" counts places alone, ties sharing theirs; "zscore" counts distances.

    >>> shape_returns(np.array([3.0, 100.0]), "ranks").tolist()
    [-1.0, 1.0]
    """
    if shaping == "ranks":
        below = (returns[None] < returns[:, None]).sum(axis=1)
        ties = (returns[None] == returns[:, None]).sum(axis=1)
        returns = below + (ties - 1) / 2
    return (returns - returns.mean()) / returns.std()
