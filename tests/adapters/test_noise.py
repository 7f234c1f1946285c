"""Pinned: noise version 1, bit for bit, against Philox-4x64-10 written out here; any slice equals that of the whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.adapters import NOISE_VERSION, rademacher

MASK = 2**64 - 1


def philox(counter: int, key: int) -> list[int]:
    """The four words of one block of Philox-4x64-10 (Salmon et al. 2011), in plain integers."""
    x0, x1, x2, x3 = ((counter >> (64 * i)) & MASK for i in range(4))
    k0, k1 = key & MASK, (key >> 64) & MASK
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * x0, 0xCA5A826395121157 * x2
        x0, x1, x2, x3 = (right >> 64) ^ x1 ^ k0, right & MASK, (left >> 64) ^ x3 ^ k1, left & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [x0, x1, x2, x3]


def sign(seed: int, index: int) -> int:
    """Noise version 1 from its definition: block b of 256 signs is the Philox block with counter b + 1."""
    block, bit = divmod(index, 256)
    return 1 if philox(block + 1, seed)[bit // 64] >> (bit % 64) & 1 else -1


def test_the_written_out_philox_meets_the_test_vectors_of_its_authors() -> None:
    ones = 2**256 - 1

    assert philox(0, 0)[:2] == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC]
    assert philox(ones, 2**128 - 1)[:2] == [0x87B092C3013FE90B, 0x438C3C67BE8D0224]


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 11, 2**64 - 1])
def test_the_stream_is_philox_bit_for_bit(seed: int) -> None:
    assert NOISE_VERSION == 1
    assert rademacher(seed, 0, 1000).tolist() == [sign(seed, i) for i in range(1000)]


def test_the_stream_far_out_is_the_same_function() -> None:
    start = 10**12 + 77

    assert rademacher(5, start, start + 300).tolist() == [sign(5, start + i) for i in range(300)]


@given(st.integers(0, 2**64 - 1), st.integers(0, 3000), st.integers(0, 700))
def test_any_slice_is_that_of_the_whole(seed: int, start: int, length: int) -> None:
    assert np.array_equal(rademacher(seed, start, start + length), rademacher(seed, 0, 3700)[start : start + length])


@given(st.lists(st.integers(0, 2000), max_size=6))
def test_chunks_of_any_size_join_to_the_whole(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 2000]

    chunks = [rademacher(9, a, b) for a, b in itertools.pairwise(edges)]

    assert np.array_equal(np.concatenate(chunks), rademacher(9, 0, 2000))


def test_signs_are_balanced_and_directions_uncorrelated() -> None:
    first, second = rademacher(1, 0, 100_000), rademacher(2, 0, 100_000)

    assert first.dtype == np.float32
    assert set(np.unique(first)) == {-1.0, 1.0}
    assert abs(first.mean()) < 0.01
    assert abs((first * second).mean()) < 0.01
    assert abs((first[1:] * first[:-1]).mean()) < 0.01


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (4, 3)])
def test_a_range_that_runs_backwards_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="start <= stop"):
        rademacher(0, start, stop)
