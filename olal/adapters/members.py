"""Members and Line: many adapters at once, made a block at a time while a model pass reads them.

No member ever exists as a whole where adapters are large: a pass asks for one matrix after the other, of all members,
and what is kept is the block of a bounded number of elements in which the last one lay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from olal.adapters.seed_space import SeedSpace

_BLOCK_ELEMENTS = 1 << 18


class Members:
    """Adapters theta + c_m z(seed_m), one for each record."""

    def __init__(
        self,
        space: SeedSpace,
        flat: NDArray[np.float32],
        records: NDArray[Any],
        *,
        block_elements: int = _BLOCK_ELEMENTS,
    ) -> None:
        """Name the members; nothing is computed yet.

        Args:
            space: the rules of records.
            flat: theta, float32 of shape (num_parameters,); it must not change while members are read.
            records: of dtype `RECORD`, one a member; members of one direction should be neighbours.
            block_elements: numbers of all members together that are kept at a time.
        """
        self._space, self._flat, self._records, self._block_elements = space, flat, records, block_elements
        self._start, self._block = 0, np.empty((len(records), 0), np.float32)

    def __len__(self) -> int:
        return len(self._records)

    def part(self, first: int, last: int) -> Members:
        """Members first..last-1."""
        return Members(self._space, self._flat, self._records[first:last], block_elements=self._block_elements)

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Elements start..stop-1 of every member.

        Returns:
            float32, shape (members, stop - start); a view that holds until another block is asked for.
        """
        if not self._start <= start <= stop <= self._start + self._block.shape[1]:
            self._block = np.empty((len(self), 0), np.float32)  # the old one goes before the new one comes
            wide = max(stop, min(start + self._block_elements // max(len(self), 1), len(self._flat)))
            self._start, self._block = start, self._make(start, wide)
        return self._block[:, start - self._start : stop - self._start]

    def _make(self, start: int, stop: int) -> NDArray[np.float32]:
        block = np.empty((len(self), stop - start), np.float32)
        seed, direction = -1, np.empty(0, np.float32)
        for row, record in zip(block, self._records, strict=True):
            if int(record["seed"]) != seed:
                seed = int(record["seed"])
                direction = self._space.subspace.direction(seed, start, stop)
            np.multiply(direction, record["coefficient"], out=row)
            row += self._flat[start:stop]
        return block


class Line:
    """Adapters on the way from one to another: theta + share (end - theta), one for each share."""

    def __init__(self, start: NDArray[np.float32], end: NDArray[np.float32], shares: NDArray[np.floating[Any]]) -> None:
        """Name the members.

        Args:
            start: theta, float32 of shape (num_parameters,).
            end: float32 of the same shape.
            shares: one a member; 0 is theta, 1 the end.
        """
        self._start, self._end = start, end
        self._shares: NDArray[np.float32] = shares.astype(np.float32)

    def __len__(self) -> int:
        return len(self._shares)

    def part(self, first: int, last: int) -> Line:
        """Members first..last-1."""
        return Line(self._start, self._end, self._shares[first:last])

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Elements start..stop-1 of every member, float32 of shape (members, stop - start)."""
        first: NDArray[np.float32] = self._start[start:stop]
        return (first + self._shares[:, None] * (self._end[start:stop] - first)).astype(np.float32, copy=False)
