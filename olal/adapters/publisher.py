"""AdapterPublisher: the learner's side of what `AdapterFollower` reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from olal.adapters.delta_bytes import encode_delta
from olal.types import AdapterDelta, AdapterUpdate

Reference = TypeVar("Reference")
Stored: TypeAlias = AdapterUpdate | tuple[bytes, ...]
"""What a reference stands for: a whole adapter, or the deltas of some versions in a row."""


class AdapterPublisher(Generic[Reference]):
    """Puts adapters where workers find them: small deltas, and now and then a whole one for those who come late."""

    def __init__(self, put: Callable[[Stored], Reference], *, snapshot_every: int) -> None:
        """Start with nothing published.

        Args:
            put: stores something and returns a reference to it.
            snapshot_every: versions between two whole adapters; at 1 nothing else is published.
        """
        self._put = put
        self._snapshot_every = snapshot_every
        self._snapshot: Reference | None = None
        self._snapshot_version = -1
        self._tail: deque[bytes] = deque(maxlen=snapshot_every)
        self.num_bytes = 0

    def publish(self, update: AdapterUpdate, delta: AdapterDelta | None) -> tuple[Reference | bytes, ...]:
        """Publish one version.

        Args:
            update: the whole adapter.
            delta: the way there from what was published before; None where there is none.

        Returns:
            What `AdapterFollower` reads; `num_bytes` is what a worker of the version before needs of it.
        """
        if delta is None or self._snapshot is None or self._snapshot_every == 1:
            self._snapshot, self._snapshot_version = self._put(update), update.version
            self._tail.clear()
            self.num_bytes = update.flat.nbytes
            return (self._snapshot,)
        newest = encode_delta(delta)
        self.num_bytes = len(newest)
        self._tail.append(newest)
        if update.version - self._snapshot_version >= self._snapshot_every:
            self._snapshot, self._snapshot_version = self._put(update), update.version
        return (self._snapshot, self._put(tuple(self._tail)), newest)
