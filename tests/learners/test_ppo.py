"""Pinned: the loss of a minibatch is that of the paper over the legal set, summed up decision by decision; before the
first step every ratio is one; updates stop at the KL target; metrics say what was done.
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
from olal.learners.clipped import ClippedPlan
from olal.learners.ppo import PPOLearner
from olal.learners.scorer import ContextScorer
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]
ABC = choice_grammar(["a", "b", "c"])


@pytest.fixture(scope="module")
def trajectories(play: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    return play("gridworld", {"max_moves": 3, "max_turns": 4}, episodes=25)


@pytest.fixture(scope="module")
def batch(trajectories: list[Trajectory], tiny_learner: PolicyNetwork) -> DecisionBatch:
    return make_batch(trajectories, tiny_learner.base.vocabulary, gamma=0.99)


@torch.no_grad()
def legal_distribution(network: PolicyNetwork, batch: DecisionBatch, row: int, temperature: float) -> dict[int, float]:
    """Probabilities of the legal tokens of one decision, by a forward pass of its own."""
    context = batch.context_of[row]
    logits = network.base.network(input_ids=torch.tensor([batch.contexts[context]])).logits[0, -1].double()
    legal = batch.legal[context].tolist()
    weights = [math.exp(float(logits[token]) / temperature) for token in legal]
    return {token: weight / sum(weights) for token, weight in zip(legal, weights, strict=True)}


def slow_terms(
    learner: PPOLearner, network: PolicyNetwork, batch: DecisionBatch, rows: Any, advantages: Any, settings: Any
) -> dict[str, float]:
    """Equation 7 of the paper, one decision after the other, and the entropy by enumeration."""
    network.bank.use(learner._flat.detach())
    surrogate = entropy = kl = clipped = 0.0
    for row in rows:
        probabilities = legal_distribution(network, batch, row, settings.temperature)
        chosen = batch.legal[batch.context_of[row]][batch.chosen[row]]
        ratio = probabilities[int(chosen)] / math.exp(batch.behaviour_logprobs[row])
        bounded = min(max(ratio, 1 - settings.clip), 1 + settings.clip)
        surrogate += min(ratio * advantages[row], bounded * advantages[row])
        entropy -= sum(p * math.log(p) for p in probabilities.values())
        kl += ratio - 1 - math.log(ratio)
        clipped += abs(ratio - 1) > settings.clip
    count = len(rows)
    loss = -(surrogate + settings.entropy * entropy) / count
    return {"loss": loss, "entropy": entropy / count, "kl": kl / count, "clip_fraction": clipped / count}


def terms_of(
    learner: PPOLearner, batch: DecisionBatch, scorer: ContextScorer, rows: Any, advantages: Any, returns: Any
) -> dict[str, torch.Tensor]:
    plan = ClippedPlan(advantages, {}, returns, batch.behaviour_logprobs, np.ones(len(batch)), np.ones(len(batch)))
    return learner.terms(batch, scorer, plan, learner.score(batch, scorer, plan, rows))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_loss_terms_are_those_of_the_paper_over_the_legal_set(
    make_learner: Make,
    tiny_learner: PolicyNetwork,
    trajectories: list[Trajectory],
    batch: DecisionBatch,
    temperature: float,
) -> None:
    learner: Any = make_learner("ppo", entropy=0.3, clip=0.1, temperature=temperature, target_kl=10.0, rate=0.02)
    learner.update(trajectories)
    rows, advantages = np.arange(3, 123, 2), np.random.default_rng(0).standard_normal(len(batch))
    scorer = ContextScorer(tiny_learner, batch, temperature=temperature)

    terms = terms_of(learner, batch, scorer, rows, advantages, np.zeros(len(batch)))

    expected = slow_terms(learner, tiny_learner, batch, rows, advantages, learner._settings)
    assert 0.1 < expected["clip_fraction"] < 0.9
    assert {name: terms[name].item() for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_the_value_loss_is_the_squared_error_at_each_decision(
    make_learner: Make, tiny_learner: PolicyNetwork, trajectories: list[Trajectory], batch: DecisionBatch
) -> None:
    learner: Any = make_learner("ppo")
    learner.update(trajectories)
    rows, returns = np.arange(0, 60), np.random.default_rng(1).standard_normal(len(batch))
    tiny_learner.bank.use(learner._flat.detach())
    sequences = [batch.contexts[batch.context_of[row]] for row in rows]
    lasts = torch.tensor([len(tokens) - 1 for tokens in sequences])
    with torch.no_grad():
        _, hidden = tiny_learner.at_positions(sequences, torch.arange(len(rows)), lasts)
        values = learner.critic.head(hidden).numpy()
    scorer = ContextScorer(tiny_learner, batch, temperature=1.0)

    terms = terms_of(learner, batch, scorer, rows, np.zeros(len(batch)), returns)

    assert np.abs(values).max() > 1e-3
    assert terms["value_loss"].item() == pytest.approx(np.square(values - returns[rows]).mean(), rel=1e-4)


def test_the_error_of_the_critic_also_teaches_the_adapter(
    make_learner: Make, tiny_learner: PolicyNetwork, batch: DecisionBatch
) -> None:
    learner: Any = make_learner("ppo")
    torch.nn.init.ones_(learner.critic.head.second.weight)
    scorer = ContextScorer(tiny_learner, batch, temperature=1.0)

    terms = terms_of(learner, batch, scorer, np.arange(20), np.zeros(len(batch)), np.ones(len(batch)))
    [grad] = torch.autograd.grad(terms["value_loss"], learner._flat, allow_unused=True)

    assert grad is not None
    assert grad.abs().max() > 0


def test_before_the_first_step_every_ratio_is_one(make_learner: Make, trajectories: list[Trajectory]) -> None:
    metrics = make_learner("ppo", epochs=1, minibatch_decisions=10**6).update(trajectories).metrics

    assert metrics["optimizer_steps"] == 1
    assert metrics["kl"] == pytest.approx(0, abs=1e-7)
    assert metrics["clip_fraction"] == 0
    assert metrics["max_logprob_gap"] < 1e-4


def test_the_gap_to_the_engine_is_seen(make_learner: Make, trajectories: list[Trajectory]) -> None:
    turn = trajectories[0].turns[0]
    decided = turn.completion.forced.index(False)
    logprobs = tuple(value - 0.5 * (t == decided) for t, value in enumerate(turn.completion.logprobs))
    wrong = replace(turn, completion=replace(turn.completion, logprobs=logprobs))
    altered = [replace(trajectories[0], turns=(wrong, *trajectories[0].turns[1:])), *trajectories[1:]]

    assert make_learner("ppo").update(altered).metrics["max_logprob_gap"] == pytest.approx(0.5, abs=1e-3)


def test_updates_stop_when_the_policy_has_moved_too_far(make_learner: Make, trajectories: list[Trajectory]) -> None:
    patient: Any = make_learner("ppo", rate=0.05, epochs=6, target_kl=1e9)
    careful: Any = make_learner("ppo", rate=0.05, epochs=6, target_kl=0.02)

    long, short = (learner.update(trajectories).metrics for learner in (patient, careful))

    assert long["optimizer_steps"] == 6 * round(long["num_decisions"] / 20)
    assert 1 <= short["optimizer_steps"] < long["optimizer_steps"]
    assert short["kl"] > 0.02


def test_every_decision_is_used_once_an_epoch(
    make_learner: Make, trajectories: list[Trajectory], batch: DecisionBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = make_learner("ppo", epochs=2, minibatch_decisions=50, rate=1e-6)
    used, terms = [], learner.terms
    monkeypatch.setattr(learner, "terms", lambda *given: (used.append(given[-1].rows), terms(*given))[1])

    learner.update(trajectories)

    half = len(used) // 2
    assert all(sorted(np.concatenate(part).tolist()) == [*range(len(batch))] for part in (used[:half], used[half:]))
    assert max(map(len, used)) < 75


def test_the_rate_is_that_of_the_version(make_learner: Make, answer: Callable[..., list[Trajectory]]) -> None:
    trajectories = answer(ABC, lambda text: float(text == "a"), prompts=[(20, 30)], episodes=40)
    early: Any = make_learner("ppo", epochs=1, minibatch_decisions=10**6)
    late: Any = make_learner("ppo", epochs=1, minibatch_decisions=10**6)
    late.version = 100
    given = [trajectories, [replace(trajectory, adapter_version=100) for trajectory in trajectories]]

    moved = [
        np.abs(one.update(played).update.flat - late.network.bank.initial).max()
        for one, played in zip((early, late), given, strict=True)
    ]

    assert moved[1] / moved[0] == pytest.approx(0.1, rel=1e-2)


def test_gradients_are_clipped(make_learner: Make, trajectories: list[Trajectory]) -> None:
    learner: Any = make_learner("ppo", max_grad_norm=1e-9, epochs=1)
    before = learner.current().flat

    learner.update(trajectories)

    # Adam with eps 1e-6 moves by about rate * gradient / eps once gradients are far below eps
    assert np.abs(learner.current().flat - before).max() < 1e-3 * 3e-3 * 10
