"""CriticSlot: a critic in its place, either on the policy's hidden states or on those of an adapter of its own.

A separate critic needs no second copy of the base model: it is the same frozen weights under another adapter, which
the value loss alone trains. It costs one more pass over the contexts.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from olal.learners.critic import Critic, MakeCritic
from olal.learners.ranks import share
from olal.learners.scorer import ContextScorer
from olal.models.policy_network import PolicyNetwork


class CriticSlot(nn.Module):
    """A critic and what it looks at; saved and restored as a torch module."""

    head: Critic

    def __init__(self, network: PolicyNetwork, make: MakeCritic, *, is_separate: bool, seed: int) -> None:
        """Make the critic.

        Args:
            network: base model and bank.
            make: the critic's class.
            is_separate: give it an adapter of its own.
            seed: of its weights.
        """
        super().__init__()
        self._network = [network]  # in a list: the base model is no part of the critic
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = make(network.hidden_size).to(network.device)
        initial = torch.tensor(network.bank.initial, device=network.device)
        self.adapter = nn.Parameter(initial) if is_separate else None

    def values(self, scorer: ContextScorer, contexts: NDArray[np.int64], hidden: Tensor) -> Tensor:
        """Values of contexts, shape (u,); differentiable.

        Args:
            scorer: of the batch.
            contexts: int64, shape (u,).
            hidden: the policy's hidden states there, shape (u, hidden).
        """
        if self.adapter is not None:
            self._network[0].bank.use(self.adapter)
            hidden = torch.cat([scorer.score(part)[1] for part in scorer.passes(contexts)])
        return self.head(hidden)

    @torch.no_grad()
    def survey(self, scorer: ContextScorer, hidden: Tensor) -> NDArray[np.float64]:
        """Values of all contexts, float64 of shape (U,), given the policy's hidden states, shape (U, hidden)."""
        values = torch.zeros(len(hidden), dtype=torch.float64)
        own = share(scorer.ranks, len(hidden))
        if len(own):
            values[own] = self.values(scorer, own, hidden[own]).double().cpu()
        scorer.ranks.sum([values])
        return values.numpy()

    def clip_gradient(self, norm: float) -> None:
        """Bound the gradient of the critic's own adapter."""
        if self.adapter is not None and self.adapter.grad is not None:
            nn.utils.clip_grad_norm_([self.adapter], norm)


def explained_variance(values: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Share of the targets' variance that the values explain: 1 - Var(target - value) / Var(target)."""
    return 1 - float(np.var(targets - values) / max(np.var(targets), 1e-12))


def value_state(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """The arrays of a checkpoint that belong to a critic."""
    return {name: array for name, array in arrays.items() if name.startswith("value.")}
