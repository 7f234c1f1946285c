"""Pinned: the actor is frozen to the bit; targets are Monte Carlo returns or lambda-returns of TD(lambda); the critic
comes to rank states as their true values do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]


@pytest.fixture(scope="module")
def trajectories(play: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    return play("gridworld", {"size": 3, "goal": [2, 2], "max_moves": 1, "max_turns": 6}, episodes=60)


@pytest.fixture(scope="module")
def batch(trajectories: list[Trajectory], tiny_learner: PolicyNetwork) -> DecisionBatch:
    return make_batch(trajectories, tiny_learner.base.vocabulary, gamma=0.9)


def lambda_returns(batch: DecisionBatch, values: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Sutton and Barto, eq. 12.3: the weighted sum of all n-step returns, over turns of one decision each."""
    targets = np.zeros(len(batch))
    for episode in batch.episodes:
        rewards = batch.rewards[episode.start : episode.stop]
        last = values[episode.bootstrap_context] if episode.bootstrap_context >= 0 else 0.0
        after = [*values[batch.context_of[episode.start : episode.stop]][1:], last]
        steps = len(rewards)
        for t in range(steps):
            n_step = [
                sum(gamma**k * rewards[t + k] for k in range(n)) + gamma**n * after[t + n - 1]
                for n in range(1, steps - t + 1)
            ]
            weights = [(1 - lam) * lam ** (n - 1) for n in range(1, steps - t)] + [lam ** (steps - t - 1)]
            targets[episode.start + t] = np.dot(weights, n_step)
    return targets


@pytest.mark.parametrize(("target", "lam"), [("monte_carlo", 1.0), ("td_lambda", 0.7), ("td_lambda", 0.0)])
def test_targets_are_the_returns_of_the_book(make_learner: Make, batch: DecisionBatch, target: str, lam: float) -> None:
    assert (batch.elapsed_turns == 1).all()
    learner: Any = make_learner("value", target=target, td_lambda=lam, gamma=0.9)
    values = np.random.default_rng(0).standard_normal(len(batch.contexts))
    learner.critic.survey = lambda scorer, hidden: values

    plan = learner.prepare(batch, Survey(*learner._scorer(batch).survey(batch)))

    assert plan.targets == pytest.approx(lambda_returns(batch, values, 0.9, lam))


@pytest.mark.parametrize("separate", [False, True])
def test_the_critic_learns_and_the_actor_does_not(
    make_learner: Make, trajectories: list[Trajectory], batch: DecisionBatch, separate: bool
) -> None:
    learner: Any = make_learner(
        "value", gamma=0.9, epochs=30, max_staleness=9, minibatch_decisions=10**4, separate_critic=separate
    )
    before = learner.current()

    steps = [learner.update(trajectories) for _ in range(6)]

    assert {step.update.digest for step in steps} == {before.digest}
    assert [step.update.version for step in steps] == [1, 2, 3, 4, 5, 6]
    assert steps[0].metrics["value_explained_variance"] == pytest.approx(0)
    assert steps[-1].metrics["value_explained_variance"] > 0.15
    assert learner.optimizers["adapter_optimizer"].state_dict()["state"] == {}


def test_states_near_the_goal_are_worth_more(make_learner: Make, trajectories: list[Trajectory], batch: DecisionBatch):
    learner: Any = make_learner("value", gamma=0.9, epochs=10, rate=1e-2)
    for _ in range(4):
        learner.update(trajectories)
    survey = Survey(*learner._scorer(batch).survey(batch))
    values = learner.critic.survey(learner._scorer(batch), survey.hidden)[batch.context_of]
    distance = [4 - row_plus_column(turn) for one in trajectories for turn in one.turns]

    assert np.corrcoef(values, distance)[0, 1] < -0.5


def row_plus_column(turn: Any) -> int:

    return sum(int(number) for number in re.findall(r"[xy]=(\d+)", turn.observation)[:2])
