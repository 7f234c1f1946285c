"""The ledger: every episode handed out ends exactly once, and the numbers say so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Ledger:
    """Counts of episodes by where they are.

        handed in  =  trained + dropped + buffered           holds after every call of the buffer

    Attributes:
        handed_in: distinct episodes that workers delivered.
        trained: episodes a learner has taken.
        dropped: episodes refused or evicted, by reason.
        buffered: episodes waiting.
        duplicates: deliveries of an episode that had already been delivered.
    """

    handed_in: int = 0
    trained: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    buffered: int = 0
    duplicates: int = 0

    @property
    def is_balanced(self) -> bool:
        """Whether every delivered episode is accounted for.

        >>> Ledger(handed_in=3, trained=2, buffered=1).is_balanced
        True
        """
        return self.handed_in == self.trained + sum(self.dropped.values()) + self.buffered
