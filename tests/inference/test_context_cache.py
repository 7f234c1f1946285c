"""Pinned: contexts are found by adapter and tokens or by their longest prefix; the least recently used go first."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from olal.inference.context_cache import Context, ContextCache

TOKENS = st.lists(st.integers(0, 2), max_size=5).map(tuple)


def context(*tokens: int) -> Context:
    """Eight bytes a token, none for the logits."""
    return Context(tokens, torch.zeros(1, 1, len(tokens), 2), np.zeros(0, np.float32))


def test_a_context_is_found_under_its_own_adapter_only() -> None:
    cache, entry = ContextCache(1000), context(1, 2)

    cache.put("a", entry)

    assert cache.get("a", (1, 2)) is entry
    assert cache.get("b", (1, 2)) is None
    assert cache.get("a", (1, 2, 3)) is None
    assert cache.longest_prefix("b", (1, 2, 3)) is None


def test_the_longest_prefix_is_found_and_is_shorter_than_the_tokens() -> None:
    cache = ContextCache(1000)
    for tokens in ((1,), (1, 2), (1, 2, 3, 4), (2, 2, 3)):
        cache.put("a", context(*tokens))

    assert cache.longest_prefix("a", (1, 2, 3)).tokens == (1, 2)
    assert cache.longest_prefix("a", (1, 2, 3, 4)).tokens == (1, 2)
    assert cache.longest_prefix("a", (1, 2, 3, 4, 5)).tokens == (1, 2, 3, 4)
    assert cache.longest_prefix("a", (3,)) is None


@given(st.lists(TOKENS, min_size=1, max_size=8), TOKENS)
def test_the_longest_prefix_is_that_of_a_plain_search(kept: list[tuple[int, ...]], tokens: tuple[int, ...]) -> None:
    cache = ContextCache(10_000)
    for one in kept:
        cache.put("a", context(*one))

    found = cache.longest_prefix("a", tokens)

    prefixes = [one for one in kept if len(one) < len(tokens) and tokens[: len(one)] == one]
    assert (None if found is None else found.tokens) == max(prefixes, key=len, default=None)


def test_the_least_recently_used_context_goes_first() -> None:
    cache = ContextCache(3 * 8)
    for token in (1, 2, 3):
        cache.put("a", context(token))
    cache.get("a", (1,))

    cache.put("a", context(4))

    assert [cache.get("a", (token,)) is not None for token in (1, 2, 3, 4)] == [True, False, True, True]


@given(st.lists(TOKENS.filter(bool), min_size=1, max_size=30), st.integers(1, 100))
def test_the_capacity_holds_and_the_newest_stays(kept: list[tuple[int, ...]], capacity: int) -> None:
    cache = ContextCache(capacity)

    for tokens in kept:
        cache.put("a", context(*tokens))
        held = {one for one in kept if cache.get("a", one) is not None}
        assert tokens in held
        assert len(cache) == len(held)
        assert len(held) == 1 or sum(8 * len(one) for one in held) <= capacity


def test_a_forgotten_adapter_leaves_room_and_the_others_stay() -> None:
    cache, kept = ContextCache(3 * 8), context(5)
    cache.put("a", context(1, 2))
    cache.put("b", kept)

    cache.forget("a")
    cache.put("b", context(3))
    cache.put("b", context(4))

    assert len(cache) == 3
    assert cache.longest_prefix("a", (1, 2, 3)) is None
    assert cache.get("b", (5,)) is kept
