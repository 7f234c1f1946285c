"""Pinned: whatever a model with random weights writes, a text that the engine calls complete is valid under a library
that shares no code with the matcher; a sentence cut by the token limit is told as such.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmark_path():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def test_what_the_engine_calls_complete_is_valid_and_what_it_cuts_is_told():
    from _grammars import CORPUS
    from _validity import judge, random_engine

    tally = judge(random_engine(), CORPUS, 5, max_tokens=48)

    assert tally.invalid == ()
    assert tally.num_other == 0
    assert tally.num_complete > 100
    assert tally.num_complete + tally.num_cut == 5 * len(CORPUS)


def test_a_cut_text_is_no_sentence_unless_more_could_follow():
    from _grammars import CORPUS
    from _validity import judge, random_engine

    closed = [case for case in CORPUS if case.name in ("json: object", "json: object deep", "tools: one")]

    tally = judge(random_engine(), closed, 5, max_tokens=4)

    assert tally.num_complete == 0
    assert tally.num_cut_valid == 0


def test_the_validators_refuse_what_is_no_sentence():
    from _grammars import CORPUS

    wrong = ["", "{", '{"action":"go"', "[1,", "left right", "((", '"open', "\x00", "2023-02-29", "{}x"]

    refused = Counter(case.name for case in CORPUS for text in wrong if not case.is_valid(text))

    assert all(refused[case.name] >= 8 for case in CORPUS)
