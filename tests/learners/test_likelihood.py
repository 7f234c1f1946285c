"""Pinned: regression weighs decisions by exp(A / tau), bounded; fine-tuning keeps the episodes it is to keep and counts
the others; the loss of both is the weighted mean negative log-likelihood of decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.grammar import choice_grammar
from olal.learners.base import Learner
from olal.learners.batch import make_batch
from olal.learners.plan import Survey
from olal.learners.rwr import regression_weights
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]
ABC = choice_grammar(["a", "b", "c"])


@pytest.fixture
def played(answer: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    return answer(ABC, lambda text: float("abc".index(text)), prompts=[(20, 30), (22,)], episodes=20)


def test_weights_are_exponential_bounded_and_one_on_average() -> None:
    advantages = np.array([-2.0, 0.0, 1.0, 9.0])

    weights = regression_weights(advantages, tau=0.5, max_weight=10.0)

    raw = np.minimum(np.exp(advantages / 0.5), 10.0)
    assert weights == pytest.approx(raw / raw.mean())
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("weigh", ["episode", "decision"])
def test_the_loss_of_regression_is_the_weighted_likelihood(
    make_learner: Make, played: list[Trajectory], tiny_learner: PolicyNetwork, weigh: str
) -> None:
    learner: Any = make_learner("rwr", tau=0.7, weigh=weigh, entropy=0.0)
    batch = make_batch(played, tiny_learner.base.vocabulary, gamma=0.9)
    scorer = learner._scorer(batch)
    survey = Survey(*scorer.survey(batch))
    plan = learner.prepare(batch, survey)
    items = np.arange(len(batch))

    loss = learner.terms(batch, scorer, plan, learner.score(batch, scorer, plan, items))["loss"].item()

    returns = np.array([trajectory.episode_return for trajectory in played])
    weights = np.exp((returns - returns.mean()) / returns.std() / 0.7)
    assert loss == pytest.approx(-(weights / weights.mean() * survey.logprobs).mean(), rel=1e-4)


def test_regression_on_equal_returns_makes_no_step(make_learner: Make, played: list[Trajectory]) -> None:
    equal = [replace(one, turns=(replace(one.turns[0], reward=3.0),)) for one in played]

    step = make_learner("rwr").update(equal)

    assert step.metrics["optimizer_steps"] == 0
    assert "advantages_zero" in step.alarms


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("all", lambda one: True),
        ("success", lambda one: one.success),
        ("above_mean", lambda one: one.episode_return > 1),
    ],
)
def test_fine_tuning_keeps_what_it_is_told_and_counts_the_rest(
    make_learner: Make, played: list[Trajectory], keep: str, kept: Callable[[Trajectory], bool]
) -> None:
    balanced = [replace(one, turns=(replace(one.turns[0], reward=float(i % 3)),)) for i, one in enumerate(played[:18])]
    told = [replace(one, success=None if i == 0 else i % 4 == 1) for i, one in enumerate(balanced)]
    some, only = make_learner("sft", keep=keep), make_learner("sft", keep="all")
    only.update([one for one in told if kept(one)])

    step = some.update(told)

    assert step.metrics.get("dropped_unsuccessful", 0) == sum(not kept(one) for one in told)
    assert step.update.digest == only.current().digest


def test_fine_tuning_raises_the_likelihood_of_what_it_is_shown(make_learner: Make, played: list[Trajectory]) -> None:
    learner = make_learner("sft", keep="all", epochs=8, rate=0.02)
    shown = [one for one in played if one.turns[0].completion.text == "c"]

    first, later = (learner.update(shown).metrics["nll"] for _ in range(2))

    assert later < 0.5 * first
