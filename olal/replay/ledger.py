"""The ledger: every episode handed out ends exactly once, and the numbers say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts of episodes by where they are.

        handed in  =  trained + dropped + buffered           holds after every call of the buffer

    Attributes:
        handed_in: distinct episodes that workers delivered or the dispatcher gave up.
        trained: episodes a learner learned from.
        dropped: episodes that nobody will learn from, by reason.
        buffered: episodes waiting, those on loan to the learner included.
        duplicates: deliveries of an episode that had already been delivered.
        refused: deliveries from another lineage than the present one, or while nothing more could be kept; they are
            in no other count.
    """

    handed_in: int = 0
    trained: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    buffered: int = 0
    duplicates: int = 0
    refused: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether every delivered episode is accounted for.

        >>> Ledger(handed_in=3, trained=2, buffered=1).is_balanced
        True
        """
        return self.handed_in == self.trained + sum(self.dropped.values()) + self.buffered

    def against(self, next_episode: int) -> Balance:
        """The balance with what was handed out, if every episode below `next_episode` was; the rest is in flight.

        >>> Ledger(handed_in=3, trained=2, buffered=1).against(5)
        Balance(handed_out=5, trained=2, dropped=0, buffered=1, in_flight=2)
        """
        in_flight = next_episode - self.handed_in
        return Balance(next_episode, self.trained, sum(self.dropped.values()), self.buffered, in_flight)


@dataclass(frozen=True, slots=True)
class Balance:
    """Where every episode that was ever handed out is.

        handed out  =  trained + dropped + buffered + in flight

    Attributes:
        handed_out: episodes given to workers; those that were forgotten and given out again count once.
        trained: learned from.
        dropped: for whatever reason.
        buffered: waiting.
        in_flight: with a worker, or lost with one and to be handed out again.
    """

    handed_out: int
    trained: int
    dropped: int
    buffered: int
    in_flight: int

    @property
    def is_balanced(self) -> bool:
        """Whether none is missing and none is counted twice.

        >>> Balance(handed_out=5, trained=2, dropped=0, buffered=1, in_flight=2).is_balanced
        True
        """
        parts = (self.trained, self.dropped, self.buffered, self.in_flight)
        return min(parts) >= 0 and self.handed_out == sum(parts)
