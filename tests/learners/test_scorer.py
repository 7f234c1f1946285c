"""Pinned: contexts are covered by sequences that contain them; scoring a batch, packed, or under many adapters at
once, equals scoring each context alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.scorer import ContextScorer, pack
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

CONTEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), min_size=1, max_size=12)


@given(CONTEXTS)
def test_every_context_is_a_prefix_of_its_sequence(contexts: list[tuple[int, ...]]) -> None:
    sequences, rows, columns = pack(contexts)

    for context, row, column in zip(contexts, rows, columns, strict=True):
        assert sequences[row][: column + 1] == context


@given(CONTEXTS)
def test_no_sequence_is_superfluous(contexts: list[tuple[int, ...]]) -> None:
    sequences, _, _ = pack(contexts)

    starts = {one[:n] for one in contexts for n in range(1, len(one))}
    assert sorted(sequences) == sorted(set(contexts) - starts)


@pytest.fixture(scope="module")
def batch(play: Callable[..., list[Trajectory]], tiny_learner: PolicyNetwork) -> DecisionBatch:
    trajectories = play("gridworld", {"max_moves": 3, "max_turns": 3}, episodes=12)
    return make_batch(trajectories, tiny_learner.base.vocabulary, gamma=1.0)


@torch.no_grad()
def alone(network: PolicyNetwork, batch: DecisionBatch, index: int, temperature: float) -> list[float]:
    """Legal log-probabilities of one context by a forward pass of its own."""
    logits = network.base.network(input_ids=torch.tensor([batch.contexts[index]])).logits[0, -1]
    return (logits[batch.legal[index].tolist()] / temperature).log_softmax(0).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_scores_are_those_of_each_context_alone(
    tiny_learner: PolicyNetwork,
    batch: DecisionBatch,
    random_flat: Callable[..., np.ndarray],
    temperature: float,
) -> None:
    tiny_learner.bank.use(torch.from_numpy(random_flat(tiny_learner, seed=41, std=0.1)))
    chosen = np.random.default_rng(0).permutation(len(batch.contexts))[:20]

    with torch.no_grad():
        scores, hidden = ContextScorer(tiny_learner, batch, temperature=temperature).score(chosen)

    assert hidden.shape == (20, tiny_learner.hidden_size)
    for row, index in enumerate(chosen):
        expected = alone(tiny_learner, batch, index, temperature)
        assert scores[row, : len(expected)].tolist() == pytest.approx(expected, abs=1e-4)


def test_members_score_as_each_adapter_alone(
    tiny_learner: PolicyNetwork, batch: DecisionBatch, random_flat: Callable[..., np.ndarray], stacked: Any
) -> None:
    flats = torch.from_numpy(np.stack([random_flat(tiny_learner, seed=seed, std=0.1) for seed in range(3)]))
    scorer, chosen = ContextScorer(tiny_learner, batch, temperature=1.0), np.arange(0, len(batch.contexts), 2)

    with torch.no_grad():
        together = scorer.score_members(chosen, stacked(flats.numpy()))

    for member, flat in enumerate(flats):
        tiny_learner.bank.use(flat)
        with torch.no_grad():
            expected, _ = scorer.score(chosen)
        real = torch.isfinite(expected)
        assert torch.equal(real, torch.isfinite(together[member]))
        assert torch.allclose(together[member][real], expected[real], atol=1e-4)
