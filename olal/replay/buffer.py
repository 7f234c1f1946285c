"""ReplayBuffer: finished episodes between those who play and the one who learns."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from olal.replay.ledger import Ledger
from olal.types import Trajectory

FAILED, STALE, EVICTED = "failed", "stale", "evicted"


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """What became of a delivery.

    Attributes:
        accepted: episodes now buffered.
        credits: episodes that may still come before old ones are evicted; a put never blocks.
    """

    accepted: int
    credits: int


class ReplayBuffer:
    """First in, first out, bounded, idempotent by episode id."""

    def __init__(self, capacity_episodes: int) -> None:
        """Start empty.

        Args:
            capacity_episodes: most episodes kept; beyond it the oldest is evicted and counted.
        """
        self.capacity_episodes = capacity_episodes
        self.ledger = Ledger()
        self._episodes: OrderedDict[int, Trajectory] = OrderedDict()
        self._seen: set[int] = set()

    def __len__(self) -> int:
        return len(self._episodes)

    def put(self, trajectories: Sequence[Trajectory]) -> PutReceipt:
        """Take in finished episodes; failed ones are counted and dropped, repeated ones ignored."""
        accepted = 0
        for trajectory in trajectories:
            episode_id = trajectory.task.episode_id
            if episode_id in self._seen:
                self.ledger.duplicates += 1
                continue
            self._seen.add(episode_id)
            self.ledger.handed_in += 1
            if trajectory.error:
                self.ledger.dropped[FAILED] += 1
                continue
            self._episodes[episode_id] = trajectory
            accepted += 1
            if len(self._episodes) > self.capacity_episodes:
                self._episodes.popitem(last=False)
                self.ledger.dropped[EVICTED] += 1
        self.ledger.buffered = len(self._episodes)
        return PutReceipt(accepted, self.capacity_episodes - len(self._episodes))

    def take(self, count: int, *, oldest_version: int = 0) -> list[Trajectory]:
        """Hand out up to `count` episodes, oldest first, and remove them.

        Args:
            count: most episodes wanted.
            oldest_version: episodes acted under an older adapter are dropped as stale.
        """
        taken: list[Trajectory] = []
        while self._episodes and len(taken) < count:
            _, trajectory = self._episodes.popitem(last=False)
            if trajectory.adapter_version < oldest_version:
                self.ledger.dropped[STALE] += 1
            else:
                taken.append(trajectory)
        self.ledger.trained += len(taken)
        self.ledger.buffered = len(self._episodes)
        return taken
