"""Subspace: which numbers of an adapter random directions move, and how many of them are free.

    full    every number, each by a sign of its own
    b       the B matrices alone; A stays at its random start, so the adapter's effect is linear in what is moved
    core    B = S C with C a free r by r matrix and S fixed: row i of B is row i mod r of C times a fixed sign

S has one entry of size 1 a row, so its columns are orthogonal, and a direction of C reaches B through signs and copies
alone: no sum is rounded, and every machine gets the same bits (of a QR decomposition that could not be said). Cores in
place of whole factors are those of SubZero (arXiv 2410.08989) and LoRA-XS.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from olal.adapters.layout import AdapterLayout
from olal.adapters.noise import rademacher

SubspaceKind = Literal["full", "b", "core"]
SUBSPACE_KINDS: tuple[SubspaceKind, ...] = get_args(SubspaceKind)
_TIE_SEED = 0x6F6C616C5F636F72  # of the fixed signs of S; part of noise version 1


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One B matrix: its place in the flat vector, in the cores and among all rows."""

    start: int
    stop: int
    rank: int
    core_start: int
    first_row: int


class Subspace:
    """Directions in an adapter's flat vector, any slice of any of them from its seed."""

    def __init__(self, layout: AdapterLayout, kind: SubspaceKind) -> None:
        """Work out what moves.

        Args:
            layout: of the adapter.
            kind: "full", "b" or "core".
        """
        self.kind = kind
        self._tensors: list[_Tensor] = []
        core, row = 0, 0
        for name, shape, start in zip(layout.names, layout.shapes, layout.offsets, strict=True):
            if kind == "full" or not name.endswith("lora_B.weight"):
                continue
            self._tensors.append(_Tensor(start, start + prod(shape), shape[1], core, row))
            core, row = core + shape[1] ** 2, row + shape[0]
        self.spans = ((0, layout.num_parameters),) if kind == "full" else _joined(self._tensors)
        self.num_free = core if kind == "core" else sum(stop - start for start, stop in self.spans)

    def direction(self, seed: int, start: int, stop: int) -> NDArray[np.float32]:
        """The direction `seed` at flat indices start..stop-1.

        Args:
            seed: unsigned 64-bit key.
            start: first flat index.
            stop: one past the last.

        Returns:
            float32 array of shape (stop - start,) of -1 and +1, and 0 where nothing moves.
        """
        if self.kind == "full":
            return rademacher(seed, start, stop)
        signs = np.zeros(stop - start, np.float32)
        for tensor in self._tensors:
            low, high = max(start, tensor.start), min(stop, tensor.stop)
            if low < high:
                part = rademacher(seed, low, high) if self.kind == "b" else _tied(tensor, seed, low, high)
                signs[low - start : high - start] = part
        return signs


def _tied(tensor: _Tensor, seed: int, low: int, high: int) -> NDArray[np.float32]:
    """Signs of S C at flat indices low..high-1 of one B matrix."""
    rank = tensor.rank
    core = rademacher(seed, tensor.core_start, tensor.core_start + rank * rank)
    place = np.arange(low - tensor.start, high - tensor.start)
    row, column = place // rank, place % rank
    first, last = int(row[0]), int(row[-1])
    ties = rademacher(_TIE_SEED, tensor.first_row + first, tensor.first_row + last + 1)
    return core[(row % rank) * rank + column] * ties[row - first]


def _joined(tensors: list[_Tensor]) -> tuple[tuple[int, int], ...]:
    """Places of the tensors, neighbours as one."""
    spans: list[tuple[int, int]] = []
    for tensor in tensors:
        if spans and spans[-1][1] == tensor.start:
            spans[-1] = (spans[-1][0], tensor.stop)
        else:
            spans.append((tensor.start, tensor.stop))
    return tuple(spans)
