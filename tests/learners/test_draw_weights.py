"""Pinned: an episode drawn with weight two moves the adapter like the same episode standing twice in the batch, for
every learner whose loss is a mean over decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]


@pytest.fixture(scope="module")
def trajectories(play: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    return play("gridworld", {"max_moves": 3, "max_turns": 3}, episodes=6)


@pytest.fixture
def weighted(trajectories: list[Trajectory], tiny_learner: PolicyNetwork) -> DecisionBatch:
    """The last episode counts twice."""
    heavy = replace(trajectories[-1], weight=2.0)
    return make_batch([*trajectories[:-1], heavy], tiny_learner.base.vocabulary, gamma=0.99)


@pytest.fixture
def doubled(trajectories: list[Trajectory], tiny_learner: PolicyNetwork) -> DecisionBatch:
    """The last episode is there twice."""
    return make_batch([*trajectories, trajectories[-1]], tiny_learner.base.vocabulary, gamma=0.99)


def total(learner: Any, batch: DecisionBatch, signal: np.ndarray) -> tuple[float, torch.Tensor]:
    """Sum of the losses over the batch and its gradient, where each decision is worth what `signal` says."""
    survey = Survey(*learner._scorer(batch).survey(batch))
    plan = learner.prepare(batch, survey)
    names = {"signal", "returns", "targets", "weights"} & {*plan.__dataclass_fields__}
    if "returns" in names:
        names.remove("weights")  # of the surrogate: they are under test; those of a likelihood are its signal
    plan = replace(plan, **dict.fromkeys(names, signal))
    rows = np.arange(len(batch))
    scorer = learner._scorer(batch)
    objective = learner.objective(learner.terms(batch, scorer, plan, learner.score(batch, scorer, plan, rows)))
    parameters = learner._flat if learner._flat.requires_grad else list(learner.critic.parameters())[-1]
    [gradient] = torch.autograd.grad(objective, [parameters])
    return objective.item() * len(batch), gradient * len(batch)


@pytest.mark.parametrize("name", ["ppo", "reinforce", "grpo", "rwr", "sft", "value"])
def test_weight_two_is_the_same_episode_twice(
    name: str, make_learner: Make, weighted: DecisionBatch, doubled: DecisionBatch
) -> None:
    learner: Any = make_learner(name, entropy=0.0)
    last = weighted.episodes[-1]
    signal = np.random.default_rng(0).standard_normal(len(weighted)) + 0.5
    twice = np.concatenate([signal, signal[last.start : last.stop]])

    loss, gradient = total(learner, weighted, signal)
    expected_loss, expected = total(learner, doubled, twice)

    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert torch.allclose(gradient, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())
    once = total(learner, replace(weighted, weights=np.ones(len(weighted))), signal)[1]
    assert not torch.allclose(once, expected, rtol=1e-2, atol=1e-2 * expected.abs().max())


@pytest.mark.parametrize("objective", ["surrogate", "nll"])
def test_mezo_counts_a_decision_as_often_as_its_weight(
    objective: str, make_learner: Make, weighted: DecisionBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worths(batch: DecisionBatch) -> np.ndarray:
        learner: Any = make_learner("mezo", objective=objective, steps=1)
        seen: list[np.ndarray] = []

        def stop(batch: DecisionBatch, scorer: Any, aim: Any) -> None:
            seen.append(aim.worth)
            raise StopIteration

        monkeypatch.setattr("olal.learners.mezo.make_batch", lambda *_, **__: batch)
        monkeypatch.setattr(learner, "_step", stop)
        with torch.inference_mode(), pytest.raises(StopIteration):
            learner.learn([])
        return seen[0]

    plain = worths(replace(weighted, weights=np.ones(len(weighted))))

    assert np.allclose(worths(weighted), weighted.weights * plain)
    assert set(weighted.weights) == {1.0, 2.0}
