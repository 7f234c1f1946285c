"""SeedSpace: the rules by which (seed, coefficient) records become an adapter, the same bits everywhere.

An adapter version is the untrained adapter and a list of moves. Every element goes its own way through that list:

    x <- anchor + keep (x - anchor)         where an update keeps less than all
    x <- x + c s                            for each record in order; s is -1 or +1, so c s is exact and one sum rounds

Every step is one correctly rounded float32 operation. So the result depends neither on the size of the chunks nor on
threads, process or machine, and a fused multiply-add gives the same bits. The order of records counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olal.adapters.layout import AdapterLayout
from olal.adapters.noise import NOISE_VERSION
from olal.adapters.subspace import SUBSPACE_KINDS, Subspace, SubspaceKind
from olal.errors import AdapterMismatch
from olal.types import RECORD

CHUNK = 1 << 18
_DTYPE_POLICY = "float32 master, never perturbed in place; one rounding a record"


class SeedSpace:
    """One adapter's layout, its untrained values and the subspace that records move in."""

    def __init__(
        self, layout: AdapterLayout, anchor: NDArray[np.float32], *, subspace: SubspaceKind = "full", base: str = ""
    ) -> None:
        """Fix the rules.

        Args:
            layout: of the adapter.
            anchor: the untrained adapter, float32 of shape (num_parameters,).
            subspace: what moves.
            base: identity of the base model.

        Raises:
            AdapterMismatch: the anchor is not of this layout.
        """
        self.layout = layout
        self.anchor = anchor
        self.subspace = Subspace(layout, subspace)
        self.anchor_digest = layout.digest(anchor)
        self._base = base
        self._siblings: dict[SubspaceKind, SeedSpace] = {}

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything that what records mean depends on, as JSON values."""
        return {
            "base": self._base,
            "names": list(self.layout.names),
            "shapes": [list(shape) for shape in self.layout.shapes],
            "untrained_adapter": self.anchor_digest,
            "subspace": self.subspace.kind,
            "noise_version": NOISE_VERSION,
            "dtype_policy": _DTYPE_POLICY,
        }

    @cached_property
    def digest(self) -> str:
        """Hash of the manifest, 16 hex digits."""
        return _hash(self.manifest)

    @cached_property
    def origin(self) -> str:
        """Hash of the manifest without the subspace: of what all stages of a run have in common."""
        return _hash({name: value for name, value in self.manifest.items() if name != "subspace"})

    def under(self, digest: str) -> SeedSpace:
        """The rules of this digest: these, or those of another subspace of the same adapter.

        Raises:
            AdapterMismatch: neither; the model, the adapter settings or the version of olal is another one.
        """
        for kind in SUBSPACE_KINDS:
            if self.within(kind).digest == digest:
                return self.within(kind)
        raise AdapterMismatch(
            f"learner and worker must have the same model, adapter settings and version of olal; the learner's rules "
            f"are {digest}, this worker's {self.digest}"
        )

    def within(self, subspace: SubspaceKind) -> SeedSpace:
        """The same adapter with another subspace."""
        if subspace == self.subspace.kind:
            return self
        if subspace not in self._siblings:
            self._siblings[subspace] = SeedSpace(self.layout, self.anchor, subspace=subspace, base=self._base)
        return self._siblings[subspace]

    def moved(
        self, flat: NDArray[np.float32], records: NDArray[Any], *, keep: float = 1.0, chunk: int = CHUNK
    ) -> NDArray[np.float32]:
        """Apply records to an adapter, which stays as it is.

        Args:
            flat: float32, shape (num_parameters,).
            records: of dtype `RECORD`, in order.
            keep: share of the distance from the anchor that is kept first; 1 skips the step.
            chunk: elements worked on at a time; it changes the memory used and nothing else.

        Returns:
            The new adapter, float32 of shape (num_parameters,).
        """
        self.layout.check(flat)
        moved = np.array(flat, np.float32)
        if np.float32(keep) != 1:
            for start in range(0, len(moved), chunk):
                part, anchor = moved[start : start + chunk], self.anchor[start : start + chunk]
                part -= anchor
                part *= np.float32(keep)
                part += anchor
        for first, last in self.subspace.spans:
            for start in range(first, last, chunk):
                stop = min(start + chunk, last)
                for seed, coefficient in zip(records["seed"], records["coefficient"], strict=True):
                    moved[start:stop] += coefficient * self.subspace.direction(int(seed), start, stop)
        return moved


def _hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def make_records(seeds: NDArray[np.uint64], coefficients: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Pair seeds with coefficients, each rounded to float32 once and for all.

    >>> make_records(np.array([7], np.uint64), np.array([0.1])).nbytes
    12
    """
    records = np.empty(len(seeds), RECORD)
    records["seed"], records["coefficient"] = seeds, coefficients
    return records
