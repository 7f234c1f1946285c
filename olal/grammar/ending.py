"""Endings: whether a sentence can still be finished within a number of tokens, by a bounded search.

A completion that was cut may have rambled, or its grammar may have no sentence so short. The two need different words
to the user, and this file tells them apart.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from olal.errors import GrammarError
from olal.grammar.matcher import Vocabulary
from olal.grammar.productive import is_productive
from olal.types import GrammarSpec

_MOST_DEPARTURES = 4
_QUOTE = re.compile(rb'"|\\.', re.DOTALL)
# What closes most comes first: outside of a string brackets, what separates, digits, letters, quotes; within one its
# quote. Brackets that open come last.
_OUTSIDE = (rb"[\[({]?[\])}>]+", rb'[,:]"?', rb"[0-9]+", rb"[A-Za-z]+", rb'"{1,2}', rb"[^{\[(<\\]+")
_IN_STRING = (rb'"[\])}>]+[,:"]*', rb'"', rb'"[^{\[(<\\]*', rb"[A-Za-z0-9 ]+", rb"[^\\]+")
_Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """What the search found.

    Attributes:
        verdict: "found"; "impossible" when every continuation was ruled out; "undecided" when the search gave up.
        tokens: when found, tokens that finish the sentence, end-of-sequence included; few, but not always the fewest.
    """

    verdict: Literal["found", "impossible", "undecided"]
    tokens: tuple[int, ...] = ()


def find_ending(
    vocabulary: Vocabulary, grammar: GrammarSpec, prefix: _Path = (), *, max_tokens: int, max_states: int = 1000
) -> Ending:
    """Look for a way to finish a sentence.

    First best-first, with closing brackets before letters before opening brackets, so that what can end soon does;
    then, for a proof, through all texts of one token, of two, and so on.

    Args:
        vocabulary: the tokenizer.
        grammar: the grammar.
        prefix: tokens of the sentence that are already there.
        max_tokens: most tokens to add, end-of-sequence included.
        max_states: most states to ask for, half of them in each search.

    Raises:
        GrammarError: the grammar does not compile or forbids the prefix.
    """
    if not is_productive(grammar):
        return Ending("impossible")
    if vocabulary.state(grammar, prefix).is_complete:
        return Ending("found")
    search = _Search(vocabulary, grammar, prefix, max_tokens)
    found = search.dive(max_states // 2)
    return Ending("found", found) if found is not None else search.exhaust(max_states // 2)


class _Search:
    def __init__(self, vocabulary: Vocabulary, grammar: GrammarSpec, prefix: _Path, max_tokens: int) -> None:
        self._vocabulary = vocabulary
        self._grammar = grammar
        self._prefix = prefix
        self._max_tokens = max_tokens
        self._end = vocabulary.eos_token_id

    def dive(self, max_states: int) -> _Path | None:
        """Follow the most closing tokens, and where that fails, paths that depart from them in few and early places.

        Drawn as (departures, length) of the paths in the order of asking: (0,0) (0,1) (0,2) ... (1,1) (1,2) ...
        """
        closing = _Closing.of(self._vocabulary)
        before = self._vocabulary.text_bytes(self._prefix)
        asked: list[tuple[_Path, bytes]] = []
        heap: list[tuple[int, int, int, int, int]] = [(0, 0, 0, -1, -1)]
        fewest: dict[bytes, int] = {}
        order = count(1)
        while heap and len(asked) < max_states:
            departures, length, _, parent, token = heapq.heappop(heap)
            path, text = ((), b"") if parent < 0 else asked[parent]
            path, text = ((*path, token), text + closing.text_of(token)) if token >= 0 else (path, text)
            if length >= self._max_tokens or fewest.get(text, length + 1) <= length:
                continue
            fewest[text] = length
            legal = self._legal(path)
            if self._ends(legal):
                return (*path, self._end)
            asked.append((path, text))
            for extra, token in enumerate(closing.candidates(legal, is_in_string=_is_in_string(before + text))):
                departed = departures + min(extra, _MOST_DEPARTURES)
                heapq.heappush(heap, (departed, length + 1, next(order), len(asked) - 1, token))
        return None

    def exhaust(self, max_states: int) -> Ending:
        """Ask for every text, the ones of fewest tokens first."""
        closing = _Closing.of(self._vocabulary)
        level: dict[bytes, _Path] = {b"": ()}
        seen = {b""}
        num_asked = 0
        for _ in range(self._max_tokens):
            following: dict[bytes, _Path] = {}
            for text, path in level.items():
                legal = self._legal(path)
                if self._ends(legal):
                    return Ending("found", (*path, self._end))
                num_asked += 1
                if legal is None or len(seen) + len(legal) > 20 * max_states or num_asked > max_states:
                    return Ending("undecided")
                for token in legal.tolist():
                    grown = text + closing.text_of(token)
                    if grown not in seen:
                        seen.add(grown)
                        following[grown] = (*path, token)
            level = following
        return Ending("impossible")

    def _legal(self, path: _Path) -> NDArray[np.int64] | None:
        """Legal tokens after a path; None where the matcher gives up."""
        try:
            return self._vocabulary.state(self._grammar, (*self._prefix, *path)).legal
        except GrammarError:
            return None

    def _ends(self, legal: NDArray[np.int64] | None) -> bool:
        return legal is not None and bool(np.any(legal == self._end))


class _Closing:
    """The tokens of a vocabulary by how much they close: brackets and quotes, digits, letters, others, openers."""

    _kept: ClassVar[WeakKeyDictionary[Vocabulary, _Closing]] = WeakKeyDictionary()

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._texts = [vocabulary.text_bytes([token]) for token in range(vocabulary.size)]
        self._firsts = np.array([text[0] if text else 0 for text in self._texts], np.int64)
        self._order_outside = _order(self._texts, _OUTSIDE)
        self._order_in_string = _order(self._texts, _IN_STRING)

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> _Closing:
        """The one of this vocabulary, made on first use."""
        if vocabulary not in cls._kept:
            cls._kept[vocabulary] = cls(vocabulary)
        return cls._kept[vocabulary]

    def text_of(self, token: int) -> bytes:
        return self._texts[token]

    def candidates(self, legal: NDArray[np.int64] | None, *, is_in_string: bool) -> list[int]:
        """The best token, and then of each first byte the best one."""
        if legal is None or len(legal) == 0:
            return []
        order = (self._order_in_string if is_in_string else self._order_outside)[legal]
        ranked = legal[np.argsort(order)]
        _, places = np.unique(self._firsts[ranked], return_index=True)
        return ranked[np.sort(places)].tolist()


def _order(texts: list[bytes], kinds: Sequence[bytes]) -> NDArray[np.int64]:
    """The place of each token: by the first kind that fits, then the longest first; where none fits, the shortest."""
    kind = [
        next((i for i, pattern in enumerate(kinds) if re.fullmatch(pattern, text, re.DOTALL)), len(kinds))
        for text in texts
    ]
    length = [len(text) if kind[token] == len(kinds) else -len(text) for token, text in enumerate(texts)]
    by_place = sorted(range(len(texts)), key=lambda token: (kind[token], length[token], token))
    order = np.empty(len(texts), np.int64)
    order[by_place] = np.arange(len(texts))
    return order


def _is_in_string(text: bytes) -> bool:
    """Whether a JSON text is open within a string."""
    return len(_QUOTE.findall(text)) % 2 == 1
