"""Number patterns against counting: a text matches if and only if its number is in the range."""

from __future__ import annotations

import random
import re

import pytest

from olal.envs.number_patterns import decimal_pattern


def spell(scaled, digits):
    text = str(abs(scaled)).zfill(digits + 1)
    text = text if digits == 0 else f"{text[:-digits]}.{text[-digits:]}"
    return ("-" if scaled < 0 else "") + text


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
def test_a_pattern_matches_exactly_the_numbers_of_its_range(digits):
    rng, numbers = random.Random(digits), range(-1150, 1151)
    texts = [spell(number, digits) for number in numbers]
    for _ in range(60):
        low, high = sorted(rng.choices(numbers, k=2))
        pattern = re.compile(decimal_pattern(low, high, digits))
        assert [n for n, text in zip(numbers, texts, strict=True) if pattern.fullmatch(text)] == [*range(low, high + 1)]


@pytest.mark.parametrize(("low", "high"), [(0, 0), (-1, -1), (9, 10), (-10, 10), (99, 1000), (-(2**63), 2**63 - 1)])
def test_the_edges_match_and_their_neighbours_do_not(low, high):
    pattern = re.compile(decimal_pattern(low, high))
    assert pattern.fullmatch(str(low))
    assert pattern.fullmatch(str(high))
    assert not pattern.fullmatch(str(low - 1))
    assert not pattern.fullmatch(str(high + 1))


@pytest.mark.parametrize("text", ["-0.00", "00.10", "0.1", "0.100", ".10", "1", "+0.10", "1e-1", "0,10", "", "0.10\n"])
def test_a_number_has_no_second_spelling(text):
    assert not re.fullmatch(decimal_pattern(-100, 100, 2), text)
