"""RewardFunction: pays for turns in the place of the environment. Subclass it for a reward of your own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from olal.errors import ConfigError
from olal.types import Trajectory, Turn


class RewardFunction(ABC):
    """Looks at a finished episode, turn by turn or as a whole, before it reaches the replay buffer.

    The environment's own reward stays beside it in `Turn.env_reward`, and is what progress and evaluation show.
    """

    @abstractmethod
    def reward(self, turn: Turn, following: Turn | None) -> float:
        """What a turn is worth.

        Args:
            turn: observation, action text in `completion.text`, and the environment's reward.
            following: the next turn, whose observation is what the action led to; None after the last.
        """

    def rewards(self, trajectory: Trajectory) -> Sequence[float]:
        """One reward per turn; override it to judge the episode as a whole."""
        turns = trajectory.turns
        return [self.reward(turn, following) for turn, following in zip(turns, (*turns[1:], None), strict=True)]


def pay(trajectory: Trajectory, function: RewardFunction) -> Trajectory:
    """A copy of a trajectory that is paid by `function`.

    Raises:
        ConfigError: it does not give one finite number per turn.
    """
    rewards = [float(reward) for reward in function.rewards(trajectory)]
    if len(rewards) != len(trajectory.turns) or not all(map(math.isfinite, rewards)):
        raise ConfigError(
            f"{type(function).__name__} must give one finite number per turn ({len(trajectory.turns)}): {rewards}"
        )
    turns = [
        replace(turn, reward=reward, env_reward=turn.reward)
        for turn, reward in zip(trajectory.turns, rewards, strict=True)
    ]
    return replace(trajectory, turns=tuple(turns))


def pay_all(trajectories: Sequence[Trajectory], function: RewardFunction | None) -> list[Trajectory]:
    """What a learner is to see: those that did not fail paid by `function`, where there is one.

    Raises:
        ConfigError: it does not give one finite number per turn.
    """
    if function is None:
        return list(trajectories)
    return [one if one.error else pay(one, function) for one in trajectories]
