"""AdapterFollower: a worker's side of the seed log; it keeps the last adapter and moves it along what is published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from olal.adapters.delta_bytes import decode_delta
from olal.adapters.publisher import Stored
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

    What is published for version v is a whole adapter, the deltas of the last versions, and the newest delta itself:

        (-> snapshot of version s,  -> [delta u, ..., delta v],  delta v)
                                                                 a worker at v-1 needs this alone, and fetches nothing
                                    a worker at u-1 or later fetches these
         anyone else fetches this too

    A learner that has no deltas publishes the whole adapter alone. Who is known to have v-1 may be sent the newest
    delta alone, and who is known to have v nothing at all; where that was an error, the follower stays where it is.
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
        self,
        published: Sequence[Reference | bytes],
        fetch: Callable[[Reference], Stored],
    ) -> AdapterUpdate:
        """Come to the version that was published last.

        Args:
            published: see the class; `->` is a reference.
            fetch: gets what a reference stands for.

        Raises:
            AdapterMismatch: records lead to another adapter here than at the learner, even from its own snapshot.
        """
        if not published:
            return self.present
        *earlier, newest = published
        if not isinstance(newest, bytes):
            return self._take(newest, fetch)
        delta = self._decode(newest)
        if (delta.version, delta.digest) == (self.present.version, self.present.digest):
            return self.present
        whole, tail = earlier or (None, None)
        deltas = [delta]
        if tail is not None and not self._is_next(delta):
            deltas = self._tail(tail, fetch)
        try:
            if self._follow_all(deltas):
                return self.present
        except AdapterMismatch as error:
            self.counts.mismatches += 1
            _log.warning("%s; taking a snapshot", error)
        if whole is None or tail is None:
            return self.present
        self._take(whole, fetch)
        for later in deltas if len(deltas) > 1 else self._tail(tail, fetch):
            if later.version > self.present.version:
                self._follow(later)
        return self.present

    def member(self, perturbation: Perturbation) -> AdapterUpdate:
        """The present adapter moved by one record, and not for good."""
        flat = self.space.moved(self.present.flat, perturbation.record)
        return AdapterUpdate(self.present.version, self.space.layout.digest(flat), flat)

    def _is_next(self, delta: AdapterDelta) -> bool:
        return delta.parent_digest == self.present.digest

    def _follow_all(self, deltas: Sequence[AdapterDelta]) -> bool:
        """Follow deltas from the one that starts at the present adapter; False where there is none."""
        start = next((place for place, delta in enumerate(deltas) if self._is_next(delta)), None)
        for delta in () if start is None else deltas[start:]:
            self._follow(delta)
        return start is not None

    def _take(self, whole: Reference | bytes, fetch: Callable[[Reference], Stored]) -> AdapterUpdate:
        snapshot = None if isinstance(whole, bytes) else fetch(whole)
        if not isinstance(snapshot, AdapterUpdate):
            raise AdapterMismatch("what is published must begin with a whole adapter")
        self.counts.snapshots += 1
        self.counts.num_bytes += snapshot.flat.nbytes
        self._check(snapshot.version, snapshot.digest, snapshot.flat)
        self.present = snapshot
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

    def _tail(self, tail: Reference | bytes, fetch: Callable[[Reference], Stored]) -> list[AdapterDelta]:
        deltas = None if isinstance(tail, bytes) else fetch(tail)
        if not isinstance(deltas, tuple):
            raise AdapterMismatch("after a whole adapter the deltas of the last versions must be published")
        return [self._decode(data) for data in deltas]

    def _decode(self, data: bytes) -> AdapterDelta:
        self.counts.num_bytes += len(data)
        return decode_delta(data)
