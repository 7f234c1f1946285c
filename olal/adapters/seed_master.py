"""SeedMaster: the adapter of a learner that moves along random directions alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from olal.adapters.seed_space import SeedSpace, make_records
from olal.types import RECORD, AdapterDelta, AdapterUpdate


class SeedMaster:
    """A float32 adapter that is never perturbed, and changes by records only, by the function that replays them.

    The calling loop:

        master.begin(keep=0.999)               # once an update
        master.move(seeds, coefficients)       # any number of times; master.flat has moved
        delta = master.commit()                # what all of this was
    """

    def __init__(self, space: SeedSpace) -> None:
        """Start at the untrained adapter, version 0."""
        self.space = space
        self.restore(0, space.anchor)

    def restore(self, version: int, flat: NDArray[np.float32]) -> None:
        """Go on from an adapter.

        Raises:
            AdapterMismatch: it is not of this layout.
        """
        self.digest = self.space.layout.digest(flat)  # refuses what does not fit before anything is changed
        self.version = version
        self.flat: NDArray[np.float32] = flat.copy()
        self._keep = 1.0
        self._records: list[NDArray[Any]] = []

    def begin(self, *, keep: float = 1.0) -> None:
        """Begin an update by moving towards the untrained adapter.

        Args:
            keep: share of the distance to it that is kept, 1 for all.
        """
        self._keep = float(np.float32(keep))
        self._records = []
        if self._keep != 1:
            self.flat = self.space.moved(self.flat, np.empty(0, RECORD), keep=self._keep)

    def move(self, seeds: NDArray[np.uint64], coefficients: NDArray[np.floating[Any]]) -> None:
        """Move along directions, one after the other.

        Args:
            seeds: uint64, shape (n,).
            coefficients: shape (n,); rounded to float32, and applied as rounded.
        """
        records = make_records(seeds, coefficients)
        self.flat = self.space.moved(self.flat, records)
        self._records.append(records)

    def commit(self) -> AdapterDelta:
        """End an update: the version goes up by one."""
        records = np.concatenate([np.empty(0, RECORD), *self._records])
        parent, self.digest = self.digest, self.space.layout.digest(self.flat)
        self.version += 1
        delta = AdapterDelta(self.version, parent, self.digest, self.space.digest, records, self._keep)
        self._keep, self._records = 1.0, []
        return delta

    def current(self) -> AdapterUpdate:
        """The whole adapter, for whoever does not follow; it does not change any more."""
        return AdapterUpdate(self.version, self.digest, self.flat.copy())
