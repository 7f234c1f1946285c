"""Suspects: which episode it is that kills workers, found by playing those that were there in ever smaller company.

    160 in hand, three deaths ─▶ again in shares of 16 ─▶ a death ─▶ of 4 ─▶ a death ─▶ alone, two deaths: it is it

A worker that was killed for another reason thus costs no episode: it would have to happen to one of them seven times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

_COMPANY = {3: 16, 4: 4}
"""Deaths that an episode was there at to how many may be played together then; at more it is played alone."""
_DEATHS_ALONE = 2


class Suspects:
    """Episodes that were in the hands of workers when they died."""

    def __init__(self) -> None:
        """Suspect nobody."""
        self._deaths: Counter[int] = Counter()
        self._deaths_alone: Counter[int] = Counter()

    def died(self, numbers: Sequence[int]) -> list[int]:
        """Take note of what a worker had in hand when it died.

        Returns:
            The one that is guilty, if there is one: it was alone in hand at two deaths.

        >>> suspects = Suspects()
        >>> [suspects.died(numbers) for numbers in ([1, 2, 3], [2], [2])]
        [[], [], [2]]
        """
        self._deaths.update(numbers)
        if len(numbers) > 1:
            return []
        self._deaths_alone.update(numbers)
        return [number for number in numbers if self._deaths_alone[number] >= _DEATHS_ALONE]

    def cleared(self, numbers: Iterable[int]) -> None:
        """These ended, and nobody died."""
        for number in numbers:
            self._deaths.pop(number, None)
            self._deaths_alone.pop(number, None)

    def limit(self, number: int | None) -> int | None:
        """Most episodes that may be handed to a worker together with this one; None for any number.

        >>> suspects = Suspects()
        >>> _ = [suspects.died(range(40)) for _ in range(3)]
        >>> suspects.limit(7), suspects.limit(50)
        (16, None)
        """
        deaths = 0 if number is None else self._deaths[number]
        return None if deaths < min(_COMPANY) else _COMPANY.get(deaths, 1)

    def are_among(self, numbers: Iterable[int]) -> bool:
        """Whether any of these must not get more company."""
        return any(self.limit(number) is not None for number in numbers)
