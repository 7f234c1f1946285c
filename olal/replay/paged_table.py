"""PagedTable: facts about a million episodes in a few tens of bytes each, by episode id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAGE_ROWS = 1024


class PagedTable:
    """Rows of one numpy record type by id; a row that was never written is all zeros.

    Memory follows how many ids were seen, not how large they are.
    """

    def __init__(self, row: np.dtype[Any]) -> None:
        """Start empty.

        Args:
            row: record type of a row.
        """
        self._type = row
        self._pages: dict[int, NDArray[Any]] = {}

    def __getitem__(self, key: int) -> Any:
        """Copy of a row."""
        page = self._pages.get(key // PAGE_ROWS)
        return np.zeros((), self._type)[()] if page is None else page[key % PAGE_ROWS].copy()

    def __setitem__(self, key: int, row: tuple[Any, ...]) -> None:
        """Write a whole row."""
        number = key // PAGE_ROWS
        page = self._pages.get(number)
        if page is None:
            page = self._pages[number] = np.zeros(PAGE_ROWS, self._type)
        page[key % PAGE_ROWS] = row

    def get(self, key: int, field: str) -> int:
        """One field of a row."""
        page = self._pages.get(key // PAGE_ROWS)
        return 0 if page is None else int(page[field][key % PAGE_ROWS])

    def set(self, key: int, field: str, value: int) -> None:
        """Write one field of a row that was written before."""
        self._pages[key // PAGE_ROWS][field][key % PAGE_ROWS] = value

    def backwards(self) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Ids and rows, the last page first."""
        for number in sorted(self._pages, reverse=True):
            start = number * PAGE_ROWS
            yield np.arange(start, start + PAGE_ROWS), self._pages[number]

    def pages(self) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Ids and rows, page after page in order of id; what is written to the rows stays."""
        for number in sorted(self._pages):
            start = number * PAGE_ROWS
            yield np.arange(start, start + PAGE_ROWS), self._pages[number]

    def zeros(self, field: str, start: int, stop: int) -> list[int]:
        """Ids from `start` to `stop` - 1 whose field is 0, in order."""
        found: list[int] = []
        for number in range(start // PAGE_ROWS, -(-stop // PAGE_ROWS)):
            first = number * PAGE_ROWS
            low, high = max(start - first, 0), min(stop - first, PAGE_ROWS)
            page = self._pages.get(number)
            if page is None:
                found += range(first + low, first + high)
            elif not page[field][low:high].all():
                found += (first + low + np.flatnonzero(page[field][low:high] == 0)).tolist()
        return found
