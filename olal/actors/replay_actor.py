"""ReplayActor: the replay buffer in a Ray process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from olal.replay import EpisodeRecord, Leased, Ledger, PutReceipt, ReplayBuffer


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """Fill and books of the buffer.

    Attributes:
        episodes: waiting.
        capacity: most that may wait.
        ledger: the counts.
    """

    episodes: int
    capacity: int
    ledger: Ledger


class ReplayActor:
    """Thin shell over ReplayBuffer."""

    def __init__(self, make_buffer: Callable[[], ReplayBuffer]) -> None:
        """Keep the factory; `ready` opens the buffer here.

        Of an error raised in a constructor Ray would hand on only the text.
        """
        self._make_buffer = make_buffer

    @cached_property
    def _buffer(self) -> ReplayBuffer:
        return self._make_buffer()

    def ready(self) -> bool:
        """Answers once the buffer is open."""
        return self._buffer is not None

    def put(self, records: Sequence[EpisodeRecord]) -> PutReceipt:
        """Take in finished episodes; never blocks."""
        return self._buffer.put(records, self._buffer.epoch)

    def take(self, count: int, version: int) -> list[Leased]:
        """Hand out up to `count` episodes of the present version, and count them as learned from."""
        leased = self._buffer.lease(count, version, max_staleness=0)
        self._buffer.commit([lent.record.episode_id for lent in leased], version + 1)
        return leased

    def rewind(self, version: int, next_episode: int) -> None:
        """Forget what a learner that went back to `version` does not know of."""
        self._buffer.rewind(version, next_episode, self._buffer.epoch + 1)

    def status(self) -> ReplayStatus:
        """Fill and books."""
        return ReplayStatus(len(self._buffer), self._buffer.capacity_episodes, self._buffer.ledger)
