"""Sampler: which of the waiting episodes the learner gets; and the simplest, first in, first out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from olal.replay.record import EpisodeRecord

Unit = Sequence[EpisodeRecord]
"""Episodes that are handed out together: those of one group, or a single one."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One unit that was chosen.

    Attributes:
        index: which one.
        weight: importance weight of each of its episodes.
    """

    index: int
    weight: float = 1.0


class Sampler(Protocol):
    """Chooses among units without replacement.

    The loop that calls it:

        for draw in sampler.draw(units, count, version):
            batch += [Leased(record, draw.weight) for record in units[draw.index]]
    """

    def draw(self, units: Sequence[Unit], count: int, version: int) -> list[Draw]:
        """Choose units of up to `count` episodes in all.

        Args:
            units: that wait, the oldest first; none is empty.
            count: most episodes.
            version: of the adapter that will learn from them; episodes have an age against it, and a draw for the same
                version from the same units is the same draw.
        """
        ...


class Fifo:
    """The oldest first; every weight is one."""

    def draw(self, units: Sequence[Unit], count: int, version: int) -> list[Draw]:
        """See `Sampler`.

        >>> episode = EpisodeRecord(0, -1, 0, "", 0.0, 1, "", b"")
        >>> [draw.index for draw in Fifo().draw([[episode], [episode] * 2, [episode]], 3, 0)]
        [0, 1]
        """
        drawn: list[Draw] = []
        for index, unit in enumerate(units):
            count -= len(unit)
            if count < 0:
                break
            drawn.append(Draw(index))
        return drawn
