"""Pinned: credit without a critic is, decision by decision, what the definitions say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import Vocabulary, choice_grammar
from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.plan import Survey
from olal.types import EpisodeTask, Trajectory

ABC = choice_grammar(["a", "b", "c"])
REWARDS = {0: [(0.0, 1.0), (0.0, 0.0)], 1: [(3.0, 0.0), (1.0, 0.0), (2.0, 0.0)]}


@pytest.fixture
def grouped(make_turn: Callable[..., Any], episode: Callable[..., Trajectory], vocabulary: Vocabulary) -> DecisionBatch:
    """Two groups of two-turn episodes with the rewards above."""
    trajectories = [
        episode(
            [make_turn(ABC, "abc"[i], reward) for i, reward in enumerate(rewards)], task=EpisodeTask(number, 0, group)
        )
        for number, (group, rewards) in enumerate((g, r) for g, episodes in REWARDS.items() for r in episodes)
    ]
    return make_batch(trajectories, vocabulary, gamma=0.5)


def credit(make_learner: Callable[..., Learner], batch: DecisionBatch, kind: str, **settings: Any) -> np.ndarray:
    learner: Any = make_learner(kind, gamma=0.5, advantage_std_floor=1e-9, **settings)
    survey = Survey(batch.behaviour_logprobs, torch.zeros(len(batch.contexts), 1))
    return learner.credit(batch, survey, learner.decouple(batch, survey)).advantages


def per_episode(batch: DecisionBatch, advantages: np.ndarray) -> list[float]:
    spans = [advantages[episode.start : episode.stop] for episode in batch.episodes]
    assert all(np.ptp(span) < 1e-12 for span in spans), "every decision of an episode has the episode's advantage"
    return [float(span[0]) for span in spans]


def test_rloo_gives_an_episode_its_return_less_that_of_its_peers(make_learner, grouped) -> None:
    assert per_episode(grouped, credit(make_learner, grouped, "rloo")) == pytest.approx([1, -1, 1.5, -1.5, 0])


def test_grpo_scales_by_the_deviation_of_the_group(make_learner, grouped) -> None:
    deviation = np.std([3, 1, 2])

    advantages = per_episode(grouped, credit(make_learner, grouped, "grpo"))

    assert advantages == pytest.approx([1, -1, 1 / deviation, -1 / deviation, 0])


def test_reinforce_gives_a_decision_the_discounted_return_that_followed_it(make_learner, grouped) -> None:
    to_go = np.array([0.5, 1, 0, 0, 3, 0, 1, 0, 2, 0], float)

    advantages = credit(make_learner, grouped, "reinforce")

    decisions_per_turn = len(grouped) // 10
    expected = np.repeat((to_go - to_go.mean()) / to_go.std(), decisions_per_turn)
    assert advantages == pytest.approx(expected)


def test_decisions_of_a_group_in_the_same_context_are_compared_by_what_followed_them(make_learner, grouped) -> None:
    to_go = np.repeat([0.5, 1, 0, 0, 3, 0, 1, 0, 2, 0], len(grouped) // 10)
    group = np.repeat([0, 1], [2 * 2 * len(grouped) // 10, 3 * 2 * len(grouped) // 10])

    advantages = credit(make_learner, grouped, "rloo", compare="context")

    for g, context in set(zip(group.tolist(), grouped.context_of.tolist(), strict=True)):
        peers = np.flatnonzero((group == g) & (grouped.context_of == context))
        for own in peers:
            others = [to_go[other] for other in peers if other != own]
            assert advantages[own] == pytest.approx(to_go[own] - np.mean(others) if others else 0.0)
