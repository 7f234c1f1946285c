"""Pinned: pairs are turns from exactly the same context with different actions, the better one by mean advantage first,
ties skipped; the loss is that of the paper, with log-probabilities averaged over the decisions of the turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import Vocabulary, choice_grammar
from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.learners.scorer import ContextScorer
from olal.learners.simpo import make_pairs, turns_of
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]
MOVES = [("left", (11,)), ("right", (12,))]
WORDS = choice_grammar(["forward", "left", "left left", "right"])


@pytest.fixture
def tried(make_turn: Callable[..., Any], episode: Callable[..., Trajectory], vocabulary: Vocabulary) -> DecisionBatch:
    """In state 10: left pays 1 and 0, right 2, forward 0.5; in state 20: left 1, right 1; in state 30: left alone."""
    plays = [
        ((10,), "left", 1.0),
        ((10,), "right", 2.0),
        ((10,), "left", 0.0),
        ((10,), "forward", 0.5),
        ((20,), "left", 1.0),
        ((20,), "right", 1.0),
        ((30,), "left", 5.0),
    ]
    turns = [make_turn(WORDS, text, reward, prompt) for prompt, text, reward in plays]
    return make_batch([episode([turn], i) for i, turn in enumerate(turns)], vocabulary, gamma=0.5)


def first_rows(batch: DecisionBatch) -> list[int]:
    return [start for start, _ in turns_of(batch)]


def test_the_best_action_is_preferred_to_each_of_the_others_and_ties_are_skipped(tried: DecisionBatch) -> None:
    advantages = np.zeros(len(tried))
    for episode in tried.episodes:
        advantages[episode.start : episode.stop] = episode.episode_return
    left, right, _, forward, *_ = first_rows(tried)

    pairs = make_pairs(tried, advantages, tie=1e-6)

    found = {(won[0], lost[0]): gap for won, lost, gap in zip(pairs.chosen, pairs.rejected, pairs.gaps, strict=True)}
    assert found == {(right, left): 1.5, (right, forward): 1.5}
    assert (pairs.num_states, pairs.num_ties) == (2, 1)


def test_a_gap_up_to_the_tolerance_is_a_tie(tried: DecisionBatch) -> None:
    advantages = np.zeros(len(tried))
    advantages[first_rows(tried)[1]] = 0.1

    assert len(make_pairs(tried, advantages, tie=0.09).gaps) == 2
    assert len(make_pairs(tried, advantages, tie=0.11).gaps) == 0


def test_turns_end_where_the_environment_moves(
    make_turn: Callable[..., Any], episode: Callable[..., Trajectory], vocabulary: Vocabulary
) -> None:
    played = episode([make_turn(WORDS, "left left"), make_turn(WORDS, "right"), make_turn(WORDS, "left")])
    batch = make_batch([played, played], vocabulary, gamma=1.0)
    decisions = [turn.completion.forced.count(False) for turn in played.turns]

    assert [stop - start for start, stop in turns_of(batch)] == decisions * 2


def test_the_loss_is_that_of_the_paper(make_learner: Make, tried: DecisionBatch, tiny_learner: PolicyNetwork) -> None:
    learner: Any = make_learner("simpo", beta=2.5, margin=0.7, entropy=0.0)
    scorer = ContextScorer(tiny_learner, tried, temperature=1.0)
    survey = Survey(*learner._scorer(tried).survey(tried))
    plan = learner.prepare(tried, survey)
    items = np.arange(len(plan.signal))

    terms = learner.terms(tried, scorer, plan, learner.score(tried, scorer, plan, items))

    losses = []
    for won, lost in zip(plan.pairs.chosen, plan.pairs.rejected, strict=True):
        mean_won, mean_lost = (survey.logprobs[slice(*turn)].mean() for turn in (won, lost))
        losses.append(-math.log(1 / (1 + math.exp(-(2.5 * mean_won - 2.5 * mean_lost - 0.7)))))
    assert {stop - start for start, stop in plan.pairs.rejected + plan.pairs.chosen} != {1}, "lengths must differ"
    assert terms["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_critic_tells_the_better_action_by_the_state_it_leads_to(
    make_learner: Make, make_turn: Callable[..., Any], episode: Callable[..., Trajectory], vocabulary: Vocabulary
) -> None:
    """Left leads to a state that the critic values, right to one that it does not; nobody is paid."""
    plays = [episode([make_turn(WORDS, a, 0.0, (10,)), make_turn(WORDS, "left", 0.0, p)]) for a, p in MOVES]
    batch = make_batch(plays, vocabulary, gamma=1.0)
    learner: Any = make_learner("simpo", advantage="critic", gae_lambda=0.0, gamma=1.0)
    learner.critic.survey = lambda scorer, hidden: np.array([1.0 if c[:1] == (11,) else 0.0 for c in batch.contexts])

    plan = learner.prepare(batch, Survey(batch.behaviour_logprobs, torch.zeros(len(batch.contexts), 1)))

    [won], [lost] = plan.pairs.chosen, plan.pairs.rejected
    assert (won[0], lost[0]) == (batch.episodes[0].start, batch.episodes[1].start)
    assert plan.signal == pytest.approx([1.0])
