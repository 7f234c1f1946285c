"""AdapterDelta: an adapter version told as what was done to the one before it, 12 bytes a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECORD = np.dtype([("seed", "<u8"), ("coefficient", "<f4")])
"""One move along a random direction: 12 bytes, nothing between the fields."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A record that was not applied for good: who adds it to an adapter becomes one member of a population.

    Attributes:
        seed: of the direction.
        coefficient: length and sign of the move along it, a float32 value.
    """

    seed: int
    coefficient: float

    @property
    def record(self) -> NDArray[Any]:
        """The record, shape (1,) of dtype `RECORD`.

        >>> Perturbation(7, 0.5).record.tolist()
        [(7, 0.5)]
        """
        return np.array([(self.seed, self.coefficient)], RECORD)


@dataclass(frozen=True, slots=True)
class AdapterDelta:
    """The way from one adapter version to the next.

    Attributes:
        version: the version it leads to; it starts from the one before.
        parent_digest: digest of the adapter it starts from.
        digest: digest of the adapter it leads to.
        space: hash of the rules by which records become moves; whoever has other rules must not apply them.
        records: shape (n,) of dtype `RECORD`, in the order in which they are to be applied.
        keep: float32 share of the distance from the untrained adapter that is kept before any record is applied.
    """

    version: int
    parent_digest: str
    digest: str
    space: str
    records: NDArray[Any]
    keep: float = 1.0
