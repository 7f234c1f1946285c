"""Pinned: data of an older version is corrected by decoupled clipping and truncated importance weights, decision by
decision as the papers have it; data of the present version is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import choice_grammar
from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.learners.scorer import ContextScorer
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]


@pytest.fixture(scope="module")
def trajectories(play: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    return play("gridworld", {"max_moves": 3, "max_turns": 4}, episodes=20)


@pytest.fixture(scope="module")
def batch(trajectories: list[Trajectory], tiny_learner: PolicyNetwork) -> DecisionBatch:
    return make_batch(trajectories, tiny_learner.base.vocabulary, gamma=0.99)


def survey_of(learner: Any, batch: DecisionBatch) -> Survey:
    return Survey(*learner._scorer(batch).survey(batch))


def test_the_present_versions_data_is_its_own_proximal_policy(make_learner: Make, batch: DecisionBatch) -> None:
    learner: Any = make_learner("ppo")

    stale = learner.decouple(batch, survey_of(learner, batch))

    assert stale.proximal is not batch.behaviour_logprobs
    assert np.array_equal(stale.proximal, batch.behaviour_logprobs)
    assert (stale.weights == 1).all()
    assert (stale.ratios(batch) == 1).all()


def test_a_stale_decision_counts_by_its_truncated_ratio_and_is_clipped_around_the_proximal_policy(
    make_learner: Make, trajectories: list[Trajectory], batch: DecisionBatch, tiny_learner: PolicyNetwork
) -> None:
    learner: Any = make_learner("ppo", rho_bar=1.1, clip=0.1, entropy=0.0, rate=0.02, target_kl=1e9)
    learner.update(trajectories)  # batch is now one version old
    survey = survey_of(learner, batch)
    plan = replace(learner.prepare(batch, survey), signal=np.random.default_rng(0).standard_normal(len(batch)))
    learner.update([replace(one, adapter_version=1, adapter_digest="") for one in trajectories])  # away from the start
    scorer, rows = ContextScorer(tiny_learner, batch, temperature=1.0), np.arange(40)

    mini = learner.score(batch, scorer, plan, rows)
    loss = learner.terms(batch, scorer, plan, mini)["loss"].item()

    expected = 0.0
    for row, now in zip(rows, mini.chosen.tolist(), strict=True):
        weight = min(1.1, math.exp(survey.logprobs[row] - batch.behaviour_logprobs[row]))
        ratio = math.exp(now - survey.logprobs[row])
        clipped = min(max(ratio, 0.9), 1.1)
        expected -= weight * min(ratio * plan.signal[row], clipped * plan.signal[row]) / len(rows)
    assert np.abs(survey.logprobs - batch.behaviour_logprobs).max() > 0.1
    assert loss == pytest.approx(expected, rel=1e-4)


def test_staleness_is_told_in_the_metrics(make_learner: Make, trajectories: list[Trajectory]) -> None:
    learner = make_learner("ppo", rate=0.02)
    fresh = learner.update(trajectories).metrics

    stale = learner.update(trajectories).metrics

    assert "stale_fraction" not in fresh
    assert stale["stale_fraction"] == 1
    assert 0 < stale["importance_weight"] < 1
    assert 0 < stale["truncated_fraction"] < 1
    assert stale["behaviour_kl"] > 0
    assert stale["kl"] >= 0


def test_the_kl_penalty_is_the_divergence_from_the_base_model_by_enumeration(
    make_learner: Make, batch: DecisionBatch, trajectories: list[Trajectory], tiny_learner: PolicyNetwork
) -> None:
    learner: Any = make_learner("grpo", kl_penalty=0.5, rate=0.02)
    plain: Any = make_learner("grpo", rate=0.02)
    for one in (learner, plain):
        one.update(trajectories)
    rows = np.arange(0, 30)
    scorer = learner._scorer(batch)
    learner._refer(scorer)
    plan = learner.prepare(batch, survey_of(learner, batch))
    mini = learner.score(batch, scorer, plan, rows)
    regulariser = learner.regulariser(mini)
    tiny_learner.bank.use(torch.from_numpy(tiny_learner.bank.initial))
    reference, _ = ContextScorer(tiny_learner, batch, temperature=1.0).score(mini.contexts)

    divergence = entropy = 0.0
    for place in mini.pick.tolist():
        for now, before in zip(mini.legal[place].tolist(), reference[place].tolist(), strict=True):
            if now > -math.inf:
                divergence += math.exp(now) * (now - before) / len(rows)
                entropy -= math.exp(now) * now / len(rows)
    assert divergence > 1e-3
    assert regulariser["reference_kl"].item() == pytest.approx(divergence, rel=1e-4)
    assert regulariser["entropy"].item() == pytest.approx(entropy, rel=1e-4)
    assert learner.current().digest != plain.current().digest


def test_a_minibatch_in_several_passes_is_the_same_step(make_learner: Make, trajectories: list[Trajectory]) -> None:
    whole: Any = make_learner("ppo", epochs=1, minibatch_decisions=10**6, entropy=0.3, kl_penalty=0.1)
    parted: Any = make_learner(
        "ppo", epochs=1, minibatch_decisions=10**6, entropy=0.3, kl_penalty=0.1, tokens_per_pass=200
    )

    terms = [learner.update(trajectories).metrics for learner in (whole, parted)]

    assert terms[1]["optimizer_steps"] == 1
    assert {name: terms[1][name] for name in terms[0]} == pytest.approx(terms[0], rel=1e-3, abs=1e-5)
    assert parted.current().flat == pytest.approx(whole.current().flat, abs=1e-4)


@pytest.mark.parametrize("kind", ["ppo", "reinforce"])
def test_the_further_acting_lay_behind_the_shorter_is_the_step(
    kind: str, make_learner: Make, answer: Callable[..., list[Trajectory]]
) -> None:
    played = answer(choice_grammar(["a", "b"]), lambda text: float(text == "a"), prompts=[(20, 30)], episodes=40)
    moved: list[float] = []
    for age in (0, 1, 3):
        learner: Any = make_learner(kind, epochs=1, minibatch_decisions=10**6)
        learner.version = 3
        step = learner.update([replace(one, adapter_version=3 - age, adapter_digest="") for one in played])
        moved.append(float(np.abs(step.update.flat - learner.network.bank.initial).max()))

    assert moved[1] / moved[0] == pytest.approx(1 / 2, rel=1e-2)
    assert moved[2] / moved[0] == pytest.approx(1 / 4, rel=1e-2)
