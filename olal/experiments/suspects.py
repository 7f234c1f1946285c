"""Suspects: which episode it is that kills workers, found by playing those that were there in ever smaller company.

    160 in hand, worker dies ─▶ again, together ─▶ worker dies ─▶ again in shares of 40 ─▶ ... ─▶ one alone: it is it

A worker that was killed for another reason thus costs no episode: it would have to happen to each of them alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

_FIRST_SUSPICION, _LEAST_DEATHS, _NARROWED = 2, 3, 4


class Suspects:
    """Episodes that were in the hands of workers when they died."""

    def __init__(self) -> None:
        """Suspect nobody."""
        self._deaths: Counter[int] = Counter()
        self._company: dict[int, int] = {}

    def died(self, numbers: Sequence[int]) -> list[int]:
        """Take note of what a worker had in hand when it died.

        Returns:
            The one that is guilty, if there is one: it was there three times, and alone the last time.

        >>> suspects = Suspects()
        >>> [suspects.died(numbers) for numbers in ([1, 2, 3], [1, 2], [2], [2])]
        [[], [], [2], [2]]
        """
        self._deaths.update(numbers)
        self._company |= dict.fromkeys(numbers, len(numbers))
        return [number for number in numbers if len(numbers) == 1 and self._deaths[number] >= _LEAST_DEATHS]

    def cleared(self, numbers: Iterable[int]) -> None:
        """These ended, and nobody died."""
        for number in numbers:
            self._deaths.pop(number, None)
            self._company.pop(number, None)

    def limit(self, number: int | None) -> int | None:
        """Most episodes that may be handed to a worker together with this one; None for any number.

        >>> suspects = Suspects()
        >>> _ = suspects.died(range(40)), suspects.died(range(40))
        >>> suspects.limit(7), suspects.limit(50)
        (10, None)
        """
        if number is None or self._deaths[number] < _FIRST_SUSPICION:
            return None
        return max(1, self._company[number] // _NARROWED)

    def are_among(self, numbers: Iterable[int]) -> bool:
        """Whether any of these must not get more company."""
        return any(self._deaths[number] >= _FIRST_SUSPICION for number in numbers)
