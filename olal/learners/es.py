"""Evolution strategies on a LoRA adapter: whole episodes under perturbed adapters, and nothing but their returns.

Salimans et al. 2017, "Evolution strategies as a scalable alternative to reinforcement learning": with n directions z_i
and returns F(theta + sigma z_i), F(theta - sigma z_i), theta moves by rate / n sum_i (u_i+ - u_i-) / 2 z_i. The
utilities u are centred ranks (their section 2) or z-scores of the returns, so sigma and the unit of rewards drop out of
the step. A member is the record (seed, +-sigma), which a rollout worker applies to the adapter it has: 12 bytes turn it
into any member. All members play the same episodes with the same draws, so what their returns differ by is the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.adapters import Checkpoint, SeedMaster, SeedSpace
from olal.learners.base import LearnerStep
from olal.learners.schedule import LinearDecay
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Perturbation, Trajectory


@dataclass(frozen=True, slots=True)
class ESSettings:
    """Hyper-parameters; see `olal.config` for what each means."""

    sigma: float = 0.05
    directions: int = 8
    shaping: Literal["ranks", "zscore"] = "ranks"
    anchor_decay: float = 0.0


class ESLearner:
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
            space: the rules of records, with the bank's initial adapter as anchor; None lets everything move.
        """
        self._settings = settings
        self._learning_rate = learning_rate
        self._seed = seed
        self.space = space or SeedSpace(network.bank.layout, network.bank.initial)
        self._master = SeedMaster(self.space)

    @property
    def version(self) -> int:
        """Version of the present adapter."""
        return self._master.version

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return self._master.current()

    def members(self) -> tuple[Perturbation, ...]:
        """Plus and minus of every direction of the next update, neighbours; a function of seed and version alone."""
        sigma = float(np.float32(self._settings.sigma))
        return tuple(Perturbation(int(seed), sign * sigma) for seed in self._directions() for sign in (1, -1))

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Move along the directions whose members did better; episodes of other members or versions do not count.

        A direction of which a sign has no whole episode is left out.
        """
        returns = self._returns(trajectories)
        both = np.isfinite(returns).all(axis=1)
        spread = float(returns[both].std()) if both.any() else 0.0
        self._master.begin(keep=1 - self._settings.anchor_decay)
        if spread > 0:
            utilities = shape_returns(returns[both].ravel(), self._settings.shaping).reshape(-1, 2)
            slopes = (utilities[:, 0] - utilities[:, 1]) / (2 * len(utilities))
            self._master.move(self._directions()[both], self._learning_rate.at(self.version) * slopes)
        delta = self._master.commit()
        metrics = {
            "member_return_spread": spread,
            "member_return_best": float(returns[both].max()) if both.any() else float("nan"),
            "directions_used": float(both.sum()),
        }
        return LearnerStep(self.current(), metrics, delta)

    def checkpoint(self) -> Checkpoint:
        """The adapter; all else follows from seed and version."""
        return Checkpoint(self.version, self._master.flat.copy(), {}, {"seed": self._seed})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint`."""
        self._master.restore(checkpoint.version, checkpoint.flat)
        self._seed = checkpoint.state["seed"]

    def _directions(self) -> NDArray[np.uint64]:
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._seed, self.version])))
        return random.integers(0, 2**64, self._settings.directions, dtype=np.uint64)

    def _returns(self, trajectories: Sequence[Trajectory]) -> NDArray[np.float64]:
        """Mean return of every member, float64 of shape (directions, 2); NaN where it finished no episode."""
        played: dict[Perturbation, list[float]] = {member: [] for member in self.members()}
        for trajectory in trajectories:
            perturbation = trajectory.task.perturbation
            if perturbation in played and trajectory.adapter_version == self.version and not trajectory.error:
                played[perturbation].append(trajectory.episode_return)
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
