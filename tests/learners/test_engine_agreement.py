"""Pinned: at identical weights the learner's log-probabilities are the engine's, to 1e-4 in float32, over thousands of
decisions; and the check means something, since log-probabilities over the full vocabulary fail it.

Engine and learner hold a network each. What they share is the adapter, the grammar texts and the token ids.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.scorer import ContextScorer, pack
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

TASKS: dict[str, tuple[str, dict[str, Any], int, int | None, float]] = {
    "gridworld, lists of moves": ("gridworld", {"max_moves": 4, "max_turns": 5}, 60, None, 1.0),
    "gridworld, walls forbidden": ("gridworld", {"max_moves": 2, "forbid_walls": True, "max_turns": 4}, 60, None, 0.7),
    "frozen lake": ("gymnasium:FrozenLake-v1", {"is_slippery": True}, 80, 20, 1.6),
    "blackjack": ("gymnasium:Blackjack-v1", {}, 150, None, 1.0),
    "cliff": ("gymnasium:CliffWalking-v1", {}, 40, 20, 0.5),
}


class Played(NamedTuple):
    """One task's decisions, and what the learner makes of them at the engine's own weights."""

    batch: DecisionBatch
    logprobs: np.ndarray
    full_vocabulary: np.ndarray


@torch.no_grad()
def score(network: PolicyNetwork, batch: DecisionBatch, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """The learner's log-probability of every choice, over the legal set and over the full vocabulary."""
    contexts, every = batch.context_of, np.arange(len(batch.contexts))
    legal, _ = ContextScorer(network, batch, temperature=temperature).score(every)
    sequences, rows, columns = pack(batch.contexts)
    logits, _ = network.at_positions(sequences, torch.tensor(rows), torch.tensor(columns))
    full = torch.log_softmax(logits / temperature, dim=1)
    tokens = [batch.legal[context][place] for context, place in zip(contexts, batch.chosen, strict=True)]
    return legal[contexts, batch.chosen].numpy(), full[contexts, tokens].numpy()


@pytest.fixture(scope="module")
def played(
    play: Callable[..., list[Trajectory]], tiny_learner: PolicyNetwork, random_flat: Callable[..., np.ndarray]
) -> dict[str, Played]:
    flat = random_flat(tiny_learner, seed=31)
    tasks: dict[str, Played] = {}
    for name, (env_id, options, episodes, max_turns, temperature) in TASKS.items():
        trajectories = play(env_id, options, episodes=episodes, flat=flat, temperature=temperature, max_turns=max_turns)
        batch = make_batch(trajectories, tiny_learner.base.vocabulary, gamma=1.0)
        tiny_learner.bank.use(torch.from_numpy(flat))
        tasks[name] = Played(batch, *score(tiny_learner, batch, temperature))
    return tasks


def test_there_are_thousands_of_decisions(played: dict[str, Played]) -> None:
    assert sum(len(task.batch) for task in played.values()) > 3000
    assert sum(len(task.batch.contexts) for task in played.values()) > 300


@pytest.mark.parametrize("name", TASKS)
def test_learner_logprobs_equal_engine_logprobs_to_1e_4(played: dict[str, Played], name: str) -> None:
    task = played[name]

    assert np.abs(task.logprobs - task.batch.behaviour_logprobs).max() < 1e-4


@pytest.mark.parametrize("name", TASKS)
def test_control_over_the_full_vocabulary_fails_the_same_check(played: dict[str, Played], name: str) -> None:
    task = played[name]

    gap = np.abs(task.full_vocabulary - task.batch.behaviour_logprobs)

    assert gap.max() > 1e-1
    assert (gap > 1e-4).mean() > 0.9


@pytest.mark.parametrize("name", TASKS)
def test_the_control_is_off_by_the_legal_mass_that_the_engine_reports(played: dict[str, Played], name: str) -> None:
    task = played[name]

    off = task.full_vocabulary - task.batch.behaviour_logprobs

    assert off == pytest.approx(task.batch.log_legal_mass, abs=2e-4)
