"""Pinned: the paths of a trie spell its sequences, and no shared token is in two nodes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.inference.trie import TrieNode, trie_levels

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=10)


def path(node: TrieNode | None) -> tuple[int, ...]:
    return () if node is None else (*path(node.parent), *node.tokens)


def prefixes(sequences: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {sequence[:length] for sequence in sequences for length in range(1, len(sequence) + 1)}


@given(SEQUENCES, st.sampled_from([1, 2, 5, 100]))
def test_paths_spell_the_sequences(sequences: list[tuple[int, ...]], least_saved: int) -> None:
    levels = trie_levels(sequences, least_saved=least_saved)

    for depth, level in enumerate(levels):
        for node in level:
            assert node.tokens
            assert node.start == len(path(node.parent))
            assert node.stop == len(path(node))
            assert (node.parent in levels[depth - 1]) if depth else node.parent is None
            assert all(child.parent is node for child in node.children)
            assert all(sequences[m][: node.stop] == path(node)[: len(sequences[m])] for m in node.members)
    for member, sequence in enumerate(sequences):
        deepest = max((node for level in levels for node in level if member in node.members), key=lambda n: n.stop)
        assert path(deepest)[: len(sequence)] == sequence
        way = [node for level in levels for node in level if member in node.members]
        assert path(deepest) == sum((node.tokens for node in way), ())


@given(SEQUENCES)
def test_no_token_is_run_twice(sequences: list[tuple[int, ...]]) -> None:
    nodes = [node for level in trie_levels(sequences) for node in level]

    assert sum(len(node.tokens) for node in nodes) == len(prefixes(sequences))
    for node in nodes:
        assert len({child.tokens[0] for child in node.children}) == len(node.children)


@given(SEQUENCES, st.sampled_from([2, 3, 6]))
def test_a_shared_beginning_is_a_node_only_where_it_saves_enough(
    sequences: list[tuple[int, ...]], least_saved: int
) -> None:
    nodes = [node for level in trie_levels(sequences, least_saved=least_saved) for node in level]

    inner = [node for node in nodes if node.children]
    assert all((len(node.members) - 1) * len(node.tokens) >= least_saved for node in inner)
    assert len(nodes) <= 2 * len(sequences)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [
        ([(1,)], [[(1,)]]),
        ([(1, 2), (1, 2)], [[(1, 2)]]),
        ([(1, 2, 3), (1,)], [[(1,)], [(2, 3)]]),
        ([(1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 6)], [[(1, 2)], [(3,), (6,)], [(4,), (5,)]]),
    ],
    ids=str,
)
def test_small_tries(sequences: list[tuple[int, ...]], expected: list[list[tuple[int, ...]]]) -> None:
    assert [[node.tokens for node in level] for level in trie_levels(sequences)] == expected
