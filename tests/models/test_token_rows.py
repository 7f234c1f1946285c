"""Pinned: a row written as a tree lets every token see its own way from the root and nothing else, at the positions
of its sequence; what is shared stands once; where that saves too little, there is no tree.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from olal.models.token_rows import TokenRows, rectangle, trees

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=2, max_size=12)


def every_place(sequences: list[tuple[int, ...]]) -> tuple[torch.Tensor, torch.Tensor]:
    picks = [(row, column) for row, tokens in enumerate(sequences) for column in range(len(tokens))]
    rows, columns = torch.tensor(picks).T
    return rows, columns


def ways(laid: TokenRows) -> list[tuple[list[int], list[int]]]:
    """Tokens and positions that the token at each end sees, itself included, in the order of the row."""
    seen = []
    for end in laid.ends.tolist():
        row, column = divmod(end, laid.ids.shape[1])
        sees = laid.mask[row, 0, column] == 0
        assert bool(sees[column])
        seen.append((laid.ids[row][sees].tolist(), laid.positions[row][sees].tolist()))
    return seen


@given(SEQUENCES, st.sampled_from([1, 8, 1000]))
def test_a_token_sees_its_own_sequence_up_to_itself(sequences: list[tuple[int, ...]], pairs: int) -> None:
    rows, columns = every_place(sequences)

    laid = trees(sequences, rows, columns, pairs_per_token=pairs, dtype=torch.float32)

    if laid is not None:
        expected = [
            (list(sequences[row][: column + 1]), list(range(column + 1)))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
        assert ways(laid) == expected


def test_a_shared_front_stands_once_where_tokens_are_dear() -> None:
    sequences = [(*range(20), last) for last in range(30, 38)]

    laid = trees(sequences, *every_place(sequences), pairs_per_token=10_000, dtype=torch.float32)

    assert laid is not None
    assert sorted(laid.ids.flatten().tolist()) == [*range(20), *range(30, 38)]


def test_rows_stay_narrow_where_attention_is_dear() -> None:
    sequences = [(0, 1, 2, 3, *range(20 * first, 20 * first + 4)) for first in range(1, 33)]

    wide, narrow = (
        trees(sequences, *every_place(sequences), pairs_per_token=pairs, dtype=torch.float32) for pairs in (9999, 64)
    )

    assert wide is not None
    assert narrow is not None
    assert 1 == len(wide.ids) < len(narrow.ids) < len(sequences)


def test_sequences_that_share_nothing_stay_as_they_are() -> None:
    sequences = [tuple(range(first, first + 20)) for first in range(8)]

    assert trees(sequences, *every_place(sequences), pairs_per_token=100, dtype=torch.float32) is None


@given(SEQUENCES)
def test_a_rectangle_holds_every_sequence_in_a_row(sequences: list[tuple[int, ...]]) -> None:
    laid = rectangle(sequences, *every_place(sequences))

    found = [tuple(ids[mask == 1].tolist()) for ids, mask in zip(laid.ids, laid.mask, strict=True)]
    assert found == sequences
    assert laid.ids.flatten()[laid.ends].tolist() == list(np.concatenate(sequences))


def test_copies_follow_one_another() -> None:
    laid = rectangle([(5, 6), (7,)], torch.tensor([0, 1]), torch.tensor([1, 0]))

    twice = laid.copies(2)

    assert twice.ids.tolist() == [[5, 6], [7, 0], [5, 6], [7, 0]]
    assert twice.ids.flatten()[twice.ends].tolist() == [6, 7, 6, 7]
