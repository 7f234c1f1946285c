"""AdapterPublisher: the learner's side of what `AdapterFollower` reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from olal.adapters.delta_bytes import encode_delta
from olal.types import AdapterDelta, AdapterUpdate

Reference = TypeVar("Reference")


class AdapterPublisher(Generic[Reference]):
    """Puts adapters where workers find them: small deltas, and now and then a whole one for those who come late."""

    def __init__(self, put: Callable[[AdapterUpdate | bytes], Reference], *, snapshot_every: int) -> None:
        """Start with nothing published.

        Args:
            put: stores something and returns a reference to it.
            snapshot_every: versions between two whole adapters; at 1 nothing else is published.
        """
        self._put = put
        self._snapshot_every = snapshot_every
        self._snapshot: Reference | None = None
        self._snapshot_version = -1
        self._deltas: list[Reference] = []
        self.num_bytes = 0

    def publish(self, update: AdapterUpdate, delta: AdapterDelta | None) -> tuple[Reference, ...]:
        """Publish one version.

        Args:
            update: the whole adapter.
            delta: the way there from what was published before; None where there is none.

        Returns:
            References as `AdapterFollower` wants them; `num_bytes` is what a worker of the version before must fetch.
        """
        if delta is None or self._snapshot is None or self._snapshot_every == 1:
            self._snapshot, self._snapshot_version, self._deltas = self._put(update), update.version, []
            self.num_bytes = update.flat.nbytes
            return (self._snapshot,)
        data = encode_delta(delta)
        self.num_bytes = len(data)
        self._deltas.append(self._put(data))
        if update.version - self._snapshot_version >= self._snapshot_every:
            self._snapshot, self._snapshot_version = self._put(update), update.version
            self._deltas = self._deltas[-1:]
        return (self._snapshot, *self._deltas)
