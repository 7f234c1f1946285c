"""NgramDrafter: what followed the last tokens the last time they occurred.

Prompt lookup (Saxena 2023) over the row's own text; with a memory also over the texts of rows that finished before, as
suffix decoding does (Oliaro et al. 2024), which pays where agents repeat themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from olal.inference.speculation.draft_path import DraftPath

_LONGEST, _SHORTEST = 4, 2


class NgramDrafter:
    """Drafts by lookup; costs no model pass."""

    def __init__(self, *, num_remembered: int = 0) -> None:
        """Start without a memory of other rows.

        Args:
            num_remembered: finished texts to search besides the row's own; 0 for none.
        """
        self._num_remembered = num_remembered
        self._texts: OrderedDict[tuple[int, ...], None] = OrderedDict()
        self._places: dict[tuple[int, ...], tuple[tuple[int, ...], int]] = {}

    def propose(self, paths: Sequence[DraftPath]) -> None:
        """Guess the continuation of the longest matching tail."""
        for path in paths:
            continuation = self._continuation(path.row.tokens)
            while path.is_open and len(path.tokens) < len(continuation):
                if continuation[: len(path.tokens)] != tuple(path.tokens):
                    break
                path.push(continuation[len(path.tokens)])

    def observe(self, tokens: tuple[int, ...]) -> None:
        """Remember a finished text; the oldest is forgotten beyond the bound."""
        if self._num_remembered == 0 or tokens in self._texts:
            return
        self._texts[tokens] = None
        for length in range(_SHORTEST, _LONGEST + 1):
            for stop in range(length, len(tokens)):
                self._places[tokens[stop - length : stop]] = (tokens, stop)
        while len(self._texts) > self._num_remembered:
            old, _ = self._texts.popitem(last=False)
            for length in range(_SHORTEST, _LONGEST + 1):
                for stop in range(length, len(old)):
                    gram = old[stop - length : stop]
                    if self._places.get(gram, ((), 0))[0] is old:
                        del self._places[gram]

    def _continuation(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        for length in range(min(_LONGEST, len(tokens) - 1), _SHORTEST - 1, -1):
            tail = tokens[-length:]
            for start in range(len(tokens) - length - 1, -1, -1):
                if tokens[start : start + length] == tail:
                    return tokens[start + length :]
            if tail in self._places:
                text, stop = self._places[tail]
                return text[stop:]
        return ()
