"""Pinned: PPO credits by GAE or, where an older policy acted, by V-trace, cut or ended, in the unit of the reward
scale; what is summed up into the loss has the sign and the weight of its setting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import Vocabulary, choice_grammar
from olal.learners import alarms
from olal.learners.admission import Gate
from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.models.policy_network import PolicyNetwork
from olal.returns import discounted_returns, gae, vtrace
from olal.types import Bootstrap, EpisodeTask, Trajectory, Turn

Make = Callable[..., Learner]
ABC = choice_grammar(["a", "b", "c"])
CUT = {"terminated": False, "truncated": True, "bootstrap": Bootstrap((9,), ABC)}


@pytest.fixture
def played(make_turn: Callable[..., Turn], episode: Callable[..., Trajectory]) -> list[Trajectory]:
    """Three fresh turns that end, two stale ones that end, two stale ones that are cut, one fresh that is cut."""
    lengths: list[tuple[int, int, dict[str, Any]]] = [(3, 1, {}), (2, 0, {}), (2, 0, CUT), (1, 1, CUT)]
    return [
        episode(
            [make_turn(ABC, "abc"[(i + t) % 3], 10.0 * (i - t), prompt=(20 + i, 30 + t)) for t in range(length)],
            i,
            task=EpisodeTask(i, i, i // 2),
            adapter_version=version,
            **changes,
        )
        for i, (length, version, changes) in enumerate(lengths)
    ]


@pytest.fixture
def batch(played: list[Trajectory], vocabulary: Vocabulary) -> DecisionBatch:
    return make_batch(played, vocabulary, gamma=0.9)


def test_ppo_judges_by_gae_or_v_trace_in_the_unit_of_the_reward_scale(make_learner: Make, batch: DecisionBatch) -> None:
    learner: Any = make_learner("ppo", gamma=0.9, gae_lambda=0.7, rho_bar=1.5)
    learner.version = 1
    random = np.random.default_rng(0)
    values, gaps = random.standard_normal(len(batch.contexts)), random.standard_normal(len(batch))
    learner.critic.survey = lambda scorer, hidden: values
    survey = Survey(batch.behaviour_logprobs + gaps, torch.zeros(len(batch.contexts), 1))

    credit = learner.credit(batch, survey, learner.decouple(batch, survey))

    scale = learner.reward_scale.value
    assert scale > 5
    advantages, returns = np.zeros(len(batch)), np.zeros(len(batch))
    for span in batch.episodes:
        at = slice(span.start, span.stop)
        decay, trace = 0.9 ** batch.elapsed_turns[at], 0.7 ** batch.elapsed_turns[at]
        end = float(values[span.bootstrap_context]) if span.bootstrap_context >= 0 else 0.0
        rewards, own = batch.rewards[at] / scale, values[batch.context_of[at]]
        if span.adapter_version == 0:
            ratios = np.exp(gaps[at])
            returns[at], advantages[at] = vtrace(rewards, own, decay, trace, ratios, end, rho_bar=1.5)
        else:
            advantages[at], returns[at] = gae(rewards, own, decay, trace, end), discounted_returns(rewards, decay, end)
    assert credit.returns == pytest.approx(returns)
    assert credit.advantages == pytest.approx((advantages - advantages.mean()) / advantages.std())


@pytest.mark.parametrize("kind", ["rloo", "reinforce"])
def test_credit_without_a_critic_is_in_the_unit_of_the_reward_scale(
    make_learner: Make, batch: DecisionBatch, kind: str
) -> None:
    learner: Any = make_learner(kind, gamma=0.9, advantage_std_floor=100.0)
    learner.version = 1
    survey = Survey(batch.behaviour_logprobs, torch.zeros(len(batch.contexts), 1))

    advantages = learner.credit(batch, survey, learner.decouple(batch, survey)).advantages

    scale, plain = learner.reward_scale.value, []
    totals = [episode.episode_return for episode in batch.episodes]
    for i, span in enumerate(batch.episodes):
        decay = 0.9 ** batch.elapsed_turns[span.start : span.stop]
        to_go = discounted_returns(batch.rewards[span.start : span.stop], decay, 0.0)
        plain += list(to_go) if kind == "reinforce" else [totals[i] - totals[i ^ 1]] * len(to_go)
    expected = np.array(plain) / scale
    assert advantages == pytest.approx(expected if kind == "rloo" else (expected - expected.mean()) / 100.0)


def test_the_critic_counts_by_its_coefficient_and_the_penalties_by_their_weights(make_learner: Make) -> None:
    learner: Any = make_learner("ppo", value_coefficient=0.25, entropy=0.5, kl_penalty=2.0)

    assert learner.objective({"loss": 3.0, "value_loss": 8.0}) == 5.0
    assert learner.regularised(1.0, {"entropy": 4.0, "reference_kl": 10.0}) == 1.0 - 2.0 + 20.0


def test_regression_weighs_every_decision_by_the_return_of_its_whole_episode(
    make_learner: Make, batch: DecisionBatch, played: list[Trajectory]
) -> None:
    learner: Any = make_learner("rwr")

    expected = [one.episode_return for one in played for turn in one.turns for _ in range(decisions(turn))]
    assert learner._returns(batch).tolist() == expected


def decisions(turn: Turn) -> int:
    return turn.completion.forced.count(False)


def test_the_kl_of_a_likelihood_learner_is_never_negative_and_small_where_little_moved(
    make_learner: Make, batch: DecisionBatch, tiny_learner: PolicyNetwork
) -> None:
    learner: Any = make_learner("rwr")
    scorer = learner._scorer(batch)
    survey = Survey(*scorer.survey(batch))
    plan = replace(learner.prepare(batch, survey), proximal=survey.logprobs - 0.1)

    terms = learner.terms(batch, scorer, plan, learner.score(batch, scorer, plan, np.arange(len(batch))))

    assert terms["kl"].item() == pytest.approx(np.exp(0.1) - 1 - 0.1, rel=1e-3)


def test_a_critic_judges_pairs_in_its_own_unit_and_is_not_trained(make_learner: Make, batch: DecisionBatch) -> None:
    learner: Any = make_learner("simpo", advantage="critic", gae_lambda=1.0)
    learner.reward_scale.variance = 16.0
    learner.critic.survey = lambda scorer, hidden: np.zeros(len(batch.contexts))
    survey = Survey(batch.behaviour_logprobs, torch.zeros(len(batch.contexts), 1))
    two = replace(batch, context_of=np.zeros(len(batch), np.int64), chosen=np.arange(len(batch)) % 2)

    gaps = learner.prepare(two, survey).signal

    plain: Any = make_learner("simpo")
    assert gaps == pytest.approx(plain.prepare(two, survey).signal / 4)
    assert len(gaps)
    assert not any(parameter.requires_grad for parameter in learner.critic.parameters())


def test_a_frozen_policys_states_are_looked_up_where_the_decisions_are(
    make_learner: Make, batch: DecisionBatch
) -> None:
    learner: Any = make_learner("value")
    hidden = torch.arange(float(len(batch.contexts)))[:, None].expand(-1, learner.network.hidden_size)
    plan = learner.prepare(batch, Survey(batch.behaviour_logprobs, hidden))
    items = np.array([5, 1, 4])

    mini = learner.score(batch, learner._scorer(batch), plan, items)

    assert mini.hidden[mini.pick, 0].tolist() == batch.context_of[items].tolist()
    assert not learner._flat.requires_grad


def test_a_separate_critic_sees_the_states_of_its_own_adapter(
    make_learner: Make, batch: DecisionBatch, random_flat: Callable[..., np.ndarray]
) -> None:
    learner: Any = make_learner("ppo", separate_critic=True)
    torch.nn.init.ones_(learner.critic.head.second.weight)
    with torch.no_grad():
        learner.critic.adapter.copy_(torch.from_numpy(random_flat(learner.network, seed=3)))
    scorer = learner._scorer(batch)
    _, hidden = scorer.survey(batch)

    values = learner.critic.survey(scorer, hidden)

    learner.network.bank.use(learner.critic.adapter.detach())
    with torch.no_grad():
        expected = learner.critic.head(scorer.survey(batch)[1]).numpy()
        plain = learner.critic.head(hidden).numpy()
    assert values == pytest.approx(expected, abs=1e-5)
    assert np.abs(values - plain).max() > 0.1


def test_alarms_keep_to_their_bounds() -> None:
    small = np.full(5, 1e-4, np.float32)

    assert not alarms.kl_blow_up(0.9, 0.1)
    assert alarms.kl_blow_up(1.1, 0.1)
    assert alarms.entropy_collapse(0.001, 1.0, success_rate=0.5)
    assert not alarms.below_rounding(small, small + np.float32(1e-10), mantissa_bits=23, steps=1)
    assert not alarms.below_rounding(small, small, mantissa_bits=23, steps=0)
    assert alarms.non_finite({}, {"adapter": np.array([1.0, np.nan])})


def test_the_gate_keeps_to_its_bounds(played: list[Trajectory]) -> None:
    [one, *_, cut] = played
    mass = replace(one.turns[0], completion=replace(one.turns[0].completion, log_legal_mass=()))
    size = 1 + max(max(*turn.prompt_token_ids, *turn.completion.token_ids) for p in played for turn in p.turns)
    gate = Gate(3, 2, size, {})

    assert gate.reason(one) == ""
    assert replace(gate, max_staleness=1).reason(one) == "stale"
    assert replace(gate, vocabulary_size=max(one.turns[0].completion.token_ids)).reason(one) == "foreign_base"
    assert gate.reason(replace(cut, bootstrap=Bootstrap((size,), ABC))) == "foreign_base"
    assert gate.reason(replace(one, turns=(mass,))) == "missing_logprobs"
