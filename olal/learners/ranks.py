"""Ranks: the processes that learn together, as one of them sees the others.

Every rank is handed the same trajectories and holds the same learner. Model passes are shared out, what they find is
summed, and so every rank takes the same step:

    own = share(ranks, len(contexts))              # a contiguous run of them
    found = zeros(len(contexts)); found[own] = ...
    ranks.sum([found])                             # now every rank has all of it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Ranks(Protocol):
    """Collective operations: every rank calls them in the same order, and each returns once all have called it.

    Raises:
        ProcessLost: another rank is gone or does not answer; from either operation.
    """

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over the ranks; bit for bit the same on every rank."""
        ...

    def gather(self, text: str) -> list[str]:
        """What every rank has to say, in the order of the ranks."""
        ...


class Alone:
    """One process by itself."""

    rank = 0
    size = 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Nothing to add."""

    def gather(self, text: str) -> list[str]:
        """Its own text."""
        return [text]


def share(ranks: Ranks, count: int) -> NDArray[np.int64]:
    """The run of 0..count-1 that is this rank's, int64; empty where there are more ranks than items.

    >>> share(Alone(), 3).tolist()
    [0, 1, 2]
    """
    return np.arange(count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size)


def of_first(ranks: Ranks, array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank 0's `array`, float64 of any shape, on every rank.

    Sums in float64 round by the number of threads and the make of the processor: where ranks go on from one they would
    part, a last bit at first.

    >>> of_first(Alone(), np.array([0.5])).tolist()
    [0.5]
    """
    told = torch.from_numpy(array if ranks.rank == 0 else np.zeros_like(array))
    ranks.sum([told])
    return told.numpy()


def add_up(ranks: Ranks, optimizers: Iterable[torch.optim.Optimizer], terms: Mapping[str, float]) -> dict[str, float]:
    """Sum gradients in place and terms by name over the ranks.

    A parameter gets a gradient where any rank has one, and none where none has: an optimizer tells no gradient from
    one of zero.

    Args:
        ranks: that each have run a part of one minibatch; a part may be empty.
        optimizers: of whatever is learned.
        terms: this rank's, weighted by its part.

    Returns:
        The terms of the whole minibatch, the same on every rank.
    """
    if ranks.size == 1:
        return dict(terms)
    parameters = [each for one in optimizers for group in one.param_groups for each in group["params"]]
    graded = [index for index, each in enumerate(parameters) if each.grad is not None]
    told = [json.loads(text) for text in ranks.gather(json.dumps([graded, dict(terms)]))]
    wanted = [parameters[index] for index in sorted({index for indices, _ in told for index in indices})]
    for parameter in wanted:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    ranks.sum([parameter.grad for parameter in wanted])
    sums: dict[str, float] = {}
    for _, others in told:
        for name, term in others.items():
            sums[name] = sums.get(name, 0.0) + term
    return sums
