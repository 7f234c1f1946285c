"""Value heads on the model's own hidden states, one learned by gradient, one in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from olal.learners.critic import Critic


class ValueHead(Critic):
    """A two-layer perceptron from a hidden state to the expected return, starting at zero everywhere."""

    def __init__(self, hidden_size: int, width: int) -> None:
        """Make the layers.

        Args:
            hidden_size: width of the model's hidden states.
            width: units of the middle layer.
        """
        super().__init__()
        self.first = nn.Linear(hidden_size, width)
        self.second = nn.Linear(width, 1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Values, shape (n,), of hidden states, shape (n, hidden)."""
        return self.second(torch.tanh(self.first(hidden))).squeeze(-1)


class RidgeValue:
    """A critic in closed form: ridge regression on random features, for learners that never run a backward pass.

    Features are tanh(h W + b) with W, b fixed at random (Rahimi and Recht 2008). The normal equations are remembered
    with exponential forgetting, so old policies fade: A <- decay A + F'F, c <- decay c + F'y, w = (A + ridge I)^-1 c.
    """

    def __init__(self, hidden_size: int, num_features: int, *, ridge: float, seed: int, decay: float = 0.8) -> None:
        """Draw the random features.

        Args:
            hidden_size: width of the hidden states.
            num_features: features drawn; a constant one is added.
            ridge: strength of the pull towards zero.
            seed: of W and b.
            decay: share of the old statistics kept at each fit.
        """
        random = np.random.default_rng(seed)
        self._weights = random.standard_normal((hidden_size, num_features)) / np.sqrt(hidden_size)
        self._shift = random.uniform(-1, 1, num_features)
        self._ridge, self._decay = ridge, decay
        self.gram = np.zeros((num_features + 1, num_features + 1))
        self.moment = np.zeros(num_features + 1)

    def values(self, hidden: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values, shape (n,), of hidden states, shape (n, hidden)."""
        solution = np.linalg.solve(self.gram + self._ridge * np.eye(len(self.moment)), self.moment)
        return self._features(hidden) @ solution

    def fit(self, hidden: NDArray[np.float64], returns: NDArray[np.float64]) -> None:
        """Take in one batch: hidden states, shape (n, hidden), and their returns, shape (n,)."""
        features = self._features(hidden)
        self.gram = self._decay * self.gram + features.T @ features
        self.moment = self._decay * self.moment + features.T @ returns

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What `restore` needs to go on: the features drawn and the statistics."""
        return {"weights": self._weights, "shift": self._shift, "gram": self.gram, "moment": self.moment}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Put back what `state` gave."""
        self._weights, self._shift = state["weights"], state["shift"]
        self.gram, self.moment = state["gram"], state["moment"]

    def _features(self, hidden: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = np.tanh(hidden @ self._weights + self._shift)
        return np.concatenate([drawn, np.ones((len(hidden), 1))], axis=1)
