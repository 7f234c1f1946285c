"""AdapterFollower: a worker's side of the seed log; it keeps the last adapter and moves it along what is published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from olal.adapters.delta_bytes import decode_delta
from olal.adapters.seed_space import SeedSpace
from olal.errors import AdapterMismatch
from olal.types import AdapterDelta, AdapterUpdate, Perturbation

_log = logging.getLogger(__name__)
Reference = TypeVar("Reference")


@dataclass(slots=True)
class FollowerCounts:
    """How a worker came by its adapters.

    Attributes:
        rebuilt: versions rebuilt from records.
        snapshots: whole adapters taken.
        mismatches: rebuilt adapters that did not have the digest they came with.
        num_bytes: bytes fetched for all of these.
    """

    rebuilt: int = 0
    snapshots: int = 0
    mismatches: int = 0
    num_bytes: int = 0


class AdapterFollower:
    """The adapter of one worker.

    What is published for version v is a list: a whole adapter, then as bytes the deltas of the latest versions, v last.

        [snapshot of version s,  delta s-1,  delta s,  delta s+1,  ...,  delta v]
                                                                         a worker at v-1 fetches this alone
         anyone else fetches this, and what comes after s

    A learner that has no deltas publishes the whole adapter alone.
    """

    def __init__(self, space: SeedSpace) -> None:
        """Start with the untrained adapter, version 0."""
        self.space = space
        self.counts = FollowerCounts()
        self.present = AdapterUpdate(0, space.anchor_digest, space.anchor)

    def forget(self) -> None:
        """Begin again with the untrained adapter: what was built since cannot be relied on."""
        self.present = AdapterUpdate(0, self.space.anchor_digest, self.space.anchor)

    def load(
        self, published: Sequence[Reference], fetch: Callable[[Reference], AdapterUpdate | bytes]
    ) -> AdapterUpdate:
        """Come to the version that was published last.

        Args:
            published: references to a whole adapter and to deltas.
            fetch: gets what a reference stands for.

        Raises:
            AdapterMismatch: records lead to another adapter here than at the learner, even from its own snapshot.
        """
        if len(published) > 1:
            newest = self._decode(published[-1], fetch)
            if newest.digest == self.present.digest and newest.version == self.present.version:
                return self.present
            if newest.parent_digest == self.present.digest and newest.version == self.present.version + 1:
                try:
                    return self._follow(newest)
                except AdapterMismatch as error:
                    self.counts.mismatches += 1
                    _log.warning("%s; taking a snapshot", error)
        return self._catch_up(published, fetch)

    def member(self, perturbation: Perturbation) -> AdapterUpdate:
        """The present adapter moved by one record, and not for good."""
        flat = self.space.moved(self.present.flat, perturbation.record)
        return AdapterUpdate(self.present.version, self.space.layout.digest(flat), flat)

    def _catch_up(
        self, published: Sequence[Reference], fetch: Callable[[Reference], AdapterUpdate | bytes]
    ) -> AdapterUpdate:
        snapshot = fetch(published[0])
        if not isinstance(snapshot, AdapterUpdate):
            raise AdapterMismatch("what is published must begin with a whole adapter")
        self.counts.snapshots += 1
        self.counts.num_bytes += snapshot.flat.nbytes
        self._check(snapshot.version, snapshot.digest, snapshot.flat)
        self.present = snapshot
        for reference in published[1:]:
            delta = self._decode(reference, fetch)
            if delta.version > self.present.version:
                self._follow(delta)
        return self.present

    def _follow(self, delta: AdapterDelta) -> AdapterUpdate:
        space = self.space.under(delta.space)
        if delta.parent_digest != self.present.digest:
            raise AdapterMismatch(
                f"adapter version {delta.version} starts from {delta.parent_digest}, this worker has "
                f"{self.present.digest}"
            )
        flat = space.moved(self.present.flat, delta.records, keep=delta.keep)
        self._check(delta.version, delta.digest, flat)
        self.counts.rebuilt += 1
        self.present = AdapterUpdate(delta.version, delta.digest, flat)
        return self.present

    def _check(self, version: int, digest: str, flat: NDArray[np.float32]) -> None:
        found = self.space.layout.digest(flat)
        if found != digest:
            raise AdapterMismatch(f"adapter version {version} must have digest {digest}: {found}")

    def _decode(self, reference: Reference, fetch: Callable[[Reference], AdapterUpdate | bytes]) -> AdapterDelta:
        data = fetch(reference)
        if not isinstance(data, bytes):
            raise AdapterMismatch("after a whole adapter only deltas can be published")
        self.counts.num_bytes += len(data)
        return decode_delta(data)
