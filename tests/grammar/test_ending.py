"""Pinned: what is found ends the sentence within the tokens given; what is called impossible is, by exhaustive walk; a
grammar without a finite sentence is known from its rules; a search that gives up says so.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar, find_ending, json_grammar, lark_grammar, regex_grammar
from olal.grammar.ending import _Search
from olal.grammar.productive import is_productive
from olal.types import GrammarSpec

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 20},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        "age": {"type": "number"},
        "kind": {"enum": ["user", "admin"]},
    },
    "required": ["name", "tags", "age", "kind"],
    "additionalProperties": False,
}


def fewest_tokens(vocabulary: Vocabulary, grammar: GrammarSpec, prefix: tuple[int, ...], most: int) -> int | None:
    """Tokens of the shortest ending, by trying all of them."""
    level = [prefix]
    for length in range(most + 1):
        states = [(path, vocabulary.state(grammar, path)) for path in level]
        if any(state.is_complete for _, state in states):
            return length
        level = [(*path, int(token)) for path, state in states for token in state.legal]
    return None


@given(
    st.lists(st.text("ab:,", min_size=1, max_size=5), min_size=1, max_size=3, unique=True), st.integers(1, 5), st.data()
)
def test_verdicts_are_those_of_an_exhaustive_walk(
    vocabulary: Vocabulary, choices: list[str], max_tokens: int, data: st.DataObject
) -> None:
    grammar, prefix = choice_grammar(choices), ()
    for _ in range(data.draw(st.integers(0, 2))):
        legal = vocabulary.state(grammar, prefix).legal
        prefix = (*prefix, int(data.draw(st.sampled_from(legal.tolist())))) if len(legal) else prefix

    ending = find_ending(vocabulary, grammar, prefix, max_tokens=max_tokens)

    fewest = fewest_tokens(vocabulary, grammar, prefix, max_tokens)
    if not vocabulary.state(grammar, prefix).is_complete:
        proof = _Search(vocabulary, grammar, prefix, max_tokens).exhaust(500)
        assert len(proof.tokens) == (fewest or 0)
    assert ending.verdict == ("impossible" if fewest is None else "found")
    if fewest is not None:
        assert vocabulary.state(grammar, (*prefix, *ending.tokens)).is_complete
        assert len(ending.tokens) <= max_tokens


def test_an_ending_is_found_for_every_grammar_of_the_corpus(
    vocabulary: Vocabulary, real_vocabulary: Vocabulary, corpus: list[Any]
) -> None:
    for each in (vocabulary, real_vocabulary):
        for case in corpus:
            ending = find_ending(each, case.spec, max_tokens=96)

            assert ending.verdict == "found", case.name
            assert len(ending.tokens) <= 96
            assert case.is_valid(each.text(ending.tokens[:-1])), case.name


def test_an_ending_continues_a_prefix(vocabulary: Vocabulary, tokenizer: Any) -> None:
    grammar, prefix = json_grammar(PERSON), tuple(tokenizer.encode('{"name":"someone whose name ').ids)

    ending = find_ending(vocabulary, grammar, prefix, max_tokens=60)

    assert vocabulary.state(grammar, (*prefix, *ending.tokens)).is_complete
    assert len(ending.tokens) < 60


@pytest.mark.parametrize(
    ("text", "is_finite"),
    [
        ('start: "a" start', False),
        ("start: /[a-z]/ start", False),
        ('start: "a" x\nx: "b" y | x\ny: "c" x', False),
        ('start: "a" x+\nx: "b" x', False),
        ('start: x{1,2}\nx: x "b"', False),
        ('start: (x "a" | x)\nx: x "b" | "(" x ")"', False),
        ('start: "a|b" start // x | y\n  | start "c"', False),
        ('start: "a" start | "b"', True),
        ('start: "a" x*\nx: "b" x', True),
        ('start: ("a" | x) y?\nx: x\ny: y', True),
        ('start: [x] "a"\nx: x "b"', True),
        ('start: x{0,2}\nx: x "b"', True),
        ('start: expr\n?expr: NUM | "(" expr "+" expr ")"\nNUM: /[0-9]+/', True),
        ('start: ("a" b)* b\nb: "c" | b', True),
        ('start: "x" %json {"type":"null"} start', True),
    ],
)
def test_a_grammar_without_a_finite_sentence_is_known_from_its_rules(
    vocabulary: Vocabulary, text: str, is_finite: bool
) -> None:
    assert is_productive(lark_grammar(text)) == is_finite
    if not is_finite:
        assert find_ending(vocabulary, lark_grammar(text), max_tokens=100_000).verdict == "impossible"


def test_what_is_no_lark_text_is_not_judged() -> None:
    assert is_productive(json_grammar({"type": "null"}))
    assert is_productive(GrammarSpec("nonsense"))
    assert is_productive(lark_grammar("nonsense ="))


@pytest.mark.parametrize(
    ("grammar", "max_tokens", "verdict"),
    [
        (choice_grammar(["left", "right"]), 1, "impossible"),
        (choice_grammar(["left", "right"]), 2, "found"),
        (choice_grammar(["grid x=0 y=0 facing north bumped " * 4]), 10, "impossible"),
        (json_grammar(PERSON), 12, "undecided"),
        (regex_grammar("[a-z]{2000}"), 20, "undecided"),
        (lark_grammar('start: "x" start | "y"'), 20, "found"),
    ],
)
def test_verdicts(vocabulary: Vocabulary, grammar: GrammarSpec, max_tokens: int, verdict: str) -> None:
    assert find_ending(vocabulary, grammar, max_tokens=max_tokens).verdict == verdict


def test_a_finished_sentence_needs_no_more(vocabulary: Vocabulary, tokenizer: Any, eos: int) -> None:
    done = (*tokenizer.encode("left").ids, eos)

    assert find_ending(vocabulary, choice_grammar(["left"]), done, max_tokens=1).tokens == ()
    with pytest.raises(GrammarError):
        find_ending(vocabulary, choice_grammar(["left"]), (eos,), max_tokens=1)
