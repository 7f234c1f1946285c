"""Critic: the base class of value estimates that learn by gradient. Subclass it for one of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from torch import Tensor, nn


class Critic(nn.Module, ABC):
    """From the model's hidden state where a decision is made to the expected discounted return.

    A subclass is made by `Class(hidden_size)`, with torch's generator seeded from the run. It should answer zero, or
    nearly so, before it has learned anything.
    """

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """Values, shape (n,), of hidden states, float32 of shape (n, hidden)."""


class MakeCritic(Protocol):
    """A class derived from `Critic`, or anything else that makes one."""

    def __call__(self, hidden_size: int) -> Critic:
        """A critic for hidden states of this width."""
        ...
