"""TabularModel: a small task written out in full, and the exact values that follow from it.

Exact optima and exact policy values need no sampling, so they tell a policy that learnt from one that was lucky.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TabularModel:
    """A finite Markov decision process with a time limit; S states, A actions, at most K outcomes of each pair.

    Attributes:
        observations: S texts, what an agent sees in each state; two states may look alike.
        actions: A texts, each action as the grammar writes it.
        start: float64 array of shape (S,), the distribution of the first state.
        probabilities: float64 array of shape (S, A, K); 0 where a pair has fewer outcomes.
        next_states: int64 array of shape (S, A, K).
        rewards: float64 array of shape (S, A, K).
        terminals: bool array of shape (S, A, K), whether the outcome ends the task.
        legal: bool array of shape (S, A), at least one legal action in each state.
        horizon: turns after which an episode is truncated.
    """

    observations: tuple[str, ...]
    actions: tuple[str, ...]
    start: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    next_states: NDArray[np.int64]
    rewards: NDArray[np.float64]
    terminals: NDArray[np.bool_]
    legal: NDArray[np.bool_]
    horizon: int

    @property
    def random_policy(self) -> NDArray[np.float64]:
        """Probabilities of shape (S, A) that are uniform over the legal actions of each state."""
        return self.legal / self.legal.sum(axis=1, keepdims=True)


def solve_optimum(model: TabularModel) -> float:
    """Largest expected return within the time limit, by backward induction.

    The best action may depend on the turns left, so no policy that sees only the state can do better, and some tasks
    (a slippery lake with 100 turns) leave a gap below it.
    """
    rewards, weights = _expected(model)
    value = np.zeros(len(model.start))
    for _ in range(model.horizon):
        returns = rewards + (weights * value[model.next_states]).sum(axis=2)
        value = np.where(model.legal, returns, -np.inf).max(axis=1)
    return float(model.start @ value)


def uniform_value(model: TabularModel) -> float:
    """Expected return of the random policy within the time limit."""
    return policy_value(model, model.random_policy)


def policy_value(model: TabularModel, probabilities: NDArray[np.floating]) -> float:
    """Expected return of a stationary policy within the time limit.

    Args:
        model: the task.
        probabilities: array of shape (S, A); each row sums to 1 and gives nothing to illegal actions.

    Raises:
        ValueError: the probabilities are no policy of this task.
    """
    policy = np.asarray(probabilities, dtype=np.float64)
    if policy.shape != model.legal.shape:
        raise ValueError(f"a policy of this task has the shape {model.legal.shape}, not {policy.shape}")
    if policy.min() < 0 or policy[~model.legal].any() or not np.allclose(policy.sum(axis=1), 1, atol=1e-5):
        raise ValueError("each row of a policy must sum to 1, without negative numbers and over legal actions only")
    rewards, weights = _expected(model)
    paid = (policy * rewards).sum(axis=1)
    value = np.zeros(len(model.start))
    for _ in range(model.horizon):
        value = paid + (policy * (weights * value[model.next_states]).sum(axis=2)).sum(axis=1)
    return float(model.start @ value)


def _expected(model: TabularModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected reward of each pair, shape (S, A), and the probability to go on to each outcome, shape (S, A, K)."""
    return (model.probabilities * model.rewards).sum(axis=2), model.probabilities * ~model.terminals
