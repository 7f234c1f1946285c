"""ReplayActor: the replay buffer in a Ray process of its own; it also writes every episode to the run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from olal.metrics import JsonlWriter
from olal.replay import Ledger, PutReceipt, ReplayBuffer, to_json
from olal.types import Trajectory


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

    def __init__(self, capacity_episodes: int, episodes_file: Path | None) -> None:
        """Start an empty buffer.

        Args:
            capacity_episodes: most episodes kept.
            episodes_file: JSON lines file that every delivered episode is appended to; None keeps no record.
        """
        self._buffer = ReplayBuffer(capacity_episodes)
        self._writer = None if episodes_file is None else JsonlWriter(episodes_file)

    def ready(self) -> bool:
        """Answers once the actor stands."""
        return True

    def put(self, trajectories: Sequence[Trajectory]) -> PutReceipt:
        """Take in finished episodes; never blocks."""
        if self._writer is not None:
            for trajectory in trajectories:
                self._writer.write(to_json(trajectory))
        return self._buffer.put(trajectories)

    def take(self, count: int, oldest_version: int) -> list[Trajectory]:
        """Hand out up to `count` episodes."""
        return self._buffer.take(count, oldest_version=oldest_version)

    def status(self) -> ReplayStatus:
        """Fill and books."""
        return ReplayStatus(len(self._buffer), self._buffer.capacity_episodes, self._buffer.ledger)
