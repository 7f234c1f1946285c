"""Pinned: a grammar built from choices, a pattern, a schema, a Lark text or a type admits whole sentences of its
language and no others; JSON has one spelling per value; what cannot be a grammar is one line of GrammarError.
"""

from __future__ import annotations

import enum
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outlines.types import CFG, Choice, JsonSchema, Regex, either, exactly, optional
from outlines_core import Index
from outlines_core import Vocabulary as CoreVocabulary
from pydantic import BaseModel
from typing_extensions import TypedDict

from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar, json_grammar, lark_grammar, regex_grammar, type_grammar
from olal.types import GrammarSpec

Sentences = Callable[..., set[str]]

PATTERNS = [
    r"left|right",
    r"[ab]{1,3}",
    r"(ab?){2}c?",
    r"a/b|[ab]{2}\/c",
    r"(a|b)?",
    r"\{\"a\":[0-2]\}",
    r"b\\a|a\.b",
    r"(?:a|aa|aaa)b",
]


class Side(enum.Enum):
    NEAR = "near (1.5)"
    FAR = "far|away"


class Inner(BaseModel):
    k: Literal["x", "y"]


class Outer(BaseModel):
    inner: Inner
    sides: Literal[1, 2]


@dataclass
class Press:
    hold: bool
    key: Literal["a", "b"]


class Maybe(BaseModel):
    a: Optional[Literal["x"]] = None  # noqa: UP045


class Turn(TypedDict):
    to: Literal["n", "s"]


def turn(to: Literal["n", "s"], far: Literal[True] = True) -> None: ...


PRESSES = {f'{{"hold":{h},"key":"{k}"}}' for h in ("true", "false") for k in "ab"}
FAR = {'{"to":"n","far":true}', '{"to":"s","far":true}'}


def test_lists_and_dicts_are_json_whatever_they_hold(sample: Callable[[GrammarSpec, int], str]) -> None:
    for python_type in (list[str], dict[str, int], dict, list[Inner | None], list[list[bool]]):
        texts = [sample(type_grammar(python_type), seed) for seed in range(5)]
        assert all(isinstance(json.loads(text), list | dict) for text in texts)


def test_choices_are_exactly_the_sentences(sentences: Sentences) -> None:
    choices = ["a", "ab", "abc", "left", "é", "è", "☃ 😀", 'q"uo\\te', "new\nline", "tab\t", "/slash/", " lead", "a|b"]

    assert sentences(choice_grammar(choices)) == set(choices)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=1, max_size=5, unique=True))
def test_any_distinct_texts_can_be_choices(sentences: Sentences, choices: list[str]) -> None:
    assert sentences(choice_grammar(choices)) == set(choices)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_admits_what_re_matches_as_a_whole(sentences: Sentences, pattern: str) -> None:
    alphabet = sorted(set(re.sub(r"\(\?:", "", pattern)) & set('abc/.\\{}":012')) or list("left|righ")
    short = ("".join(letters) for n in range(7) for letters in itertools.product(alphabet, repeat=n))
    expected = {"left", "right"} if pattern == "left|right" else {t for t in short if re.fullmatch(pattern, t)}
    expected |= {f'{{"a":{i}}}' for i in range(3)} if pattern.startswith(r"\{") else set()

    assert sentences(regex_grammar(pattern)) == expected


def core_sentences(pattern: str) -> set[str]:
    """Sentences by the automaton of outlines_core over single bytes."""
    index = Index(pattern, CoreVocabulary(127, {chr(i): [i] for i in range(1, 127)}))
    found, stack = set(), [(index.get_initial_state(), "")]
    while stack:
        state, text = stack.pop()
        if index.is_final_state(state):
            found.add(text)
        for token in index.get_allowed_tokens(state):
            if token != 127:
                stack.append((index.get_next_state(state, token), text + chr(token)))
    return found


@pytest.mark.parametrize("pattern", [*PATTERNS, r"-?(0|[1-9][0-9]{0,1})", r"[!-,]?[x-z]{2}|(1|2)(\+|-)(1|2)"])
def test_a_pattern_admits_what_the_automaton_of_outlines_core_does(sentences: Sentences, pattern: str) -> None:
    ours = {text for text in sentences(regex_grammar(pattern)) if text.isascii() and "\0" not in text}

    assert ours == {text for text in core_sentences(pattern) if text.isascii()}


def test_samples_of_an_infinite_pattern_match_it(sample: Callable[[GrammarSpec, int], str]) -> None:
    pattern = r'"[^"\\]*(\\.[a-z]+)?"'

    texts = [sample(regex_grammar(pattern), seed) for seed in range(40)]

    assert all(re.fullmatch(pattern, text) for text in texts)
    assert len(set(texts)) > 30


@pytest.mark.parametrize("pattern", ["a\nb", "a\\\nb", re.escape("a\nb\r\t c#")])
def test_a_pattern_may_hold_line_breaks(sentences: Sentences, pattern: str) -> None:
    [text] = sentences(regex_grammar(pattern))

    assert re.fullmatch(pattern, text)


def test_json_is_written_in_one_way_only(sentences: Sentences) -> None:
    properties = {"n": {"type": "integer", "minimum": 8, "maximum": 11}, "who": {"enum": ["é x", 'q"']}}
    schema = {"type": "object", "properties": properties, "required": ["n", "who"], "additionalProperties": False}
    values = [{"n": n, "who": who} for n in range(8, 12) for who in ("é x", 'q"')]

    found = sentences(json_grammar(schema))

    assert sorted(map(json.loads, found), key=str) == sorted(values, key=str)
    assert len(found) == len(values)
    assert all(text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False) for text in found)


def test_json_arrays_nest_without_whitespace(sentences: Sentences) -> None:
    row = {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}

    found = sentences(json_grammar({"type": "array", "items": row, "minItems": 2, "maxItems": 2}))

    rows = ["[true]", "[false]", *(f"[{a},{b}]" for a in ("true", "false") for b in ("true", "false"))]
    assert found == {f"[{a},{b}]" for a in rows for b in rows}


def test_lark_may_recur(sentences: Sentences) -> None:
    def is_balanced(text: str) -> bool:
        while "()" in text or "[]" in text:
            text = text.replace("()", "").replace("[]", "")
        return not text

    texts = ("".join(letters) for n in range(2, 7, 2) for letters in itertools.product("()[]", repeat=n))

    found = sentences(lark_grammar('start: pair+\npair: "(" pair* ")" | "[" pair* "]"'), longest=6)

    assert found == {text for text in texts if is_balanced(text)}


@pytest.mark.parametrize(
    ("python_type", "expected"),
    [
        (Literal["l.r", "a|b", "é", "line\nbreak"], {"l.r", "a|b", "é", "line\nbreak"}),
        (Literal[1, -2], {"1", "-2"}),
        (Side, {"near (1.5)", "far|away"}),
        (bool, {"True", "False"}),
        (Regex(r"[ab]{1,2}"), {"a", "b", "aa", "ab", "ba", "bb"}),
        (CFG('start: "x" | "(" "y" ")"'), {"x", "(y)"}),
        (Inner, {'{"k":"x"}', '{"k":"y"}'}),
        (Outer, {f'{{"inner":{{"k":"{k}"}},"sides":{n}}}' for k in "xy" for n in (1, 2)}),
        (Press, {f'{{"hold":{h},"key":"{k}"}}' for h in ("true", "false") for k in "ab"}),
        (Maybe, {"{}", '{"a":null}', '{"a":"x"}'}),
        (Turn, {'{"to":"n"}', '{"to":"s"}'}),
        (turn, {'{"to":"n"}', '{"to":"s"}', '{"to":"n","far":true}', '{"to":"s","far":true}'}),
        (Inner | Press | Literal["stop"], {'{"k":"x"}', '{"k":"y"}', "stop", *PRESSES}),
        (Union[Inner, turn, None], {'{"k":"x"}', '{"k":"y"}', "None", '{"to":"n"}', '{"to":"s"}', *FAR}),  # noqa: UP007
        (either("a", Inner, Regex("[0-9]")), {"a", '{"k":"x"}', '{"k":"y"}', *"0123456789"}),
        (Choice(["a", Literal[3], Inner]), {"a", "3", '{"k":"x"}', '{"k":"y"}'}),
        (Inner | CFG('start: "(" "x" ")"'), {'{"k":"x"}', '{"k":"y"}', "(x)"}),
        ("say " + JsonSchema(Inner) + "!", {'say {"k":"x"}!', 'say {"k":"y"}!'}),
        (exactly(2, JsonSchema({"enum": [True]})), {"truetrue"}),
        (optional(CFG('start: "x"')), {"", "x"}),
        (tuple[Literal["a"], Inner], {'["a",{"k":"x"}]', '["a",{"k":"y"}]'}),
        (JsonSchema({"enum": ["a/b", 'c"d']}), {'"a/b"', '"c\\"d"'}),
    ],
    ids=[
        "words",
        "numbers",
        "enum",
        "bool",
        "regex",
        "cfg",
        "model",
        "nested",
        "dataclass",
        "optional",
        "typeddict",
        "function",
        "models_and_word",
        "function_or_none",
        "either",
        "choice",
        "model_or_cfg",
        "compound",
        "exactly",
        "optional_cfg",
        "tuple",
        "json_schema",
    ],
)
def test_a_type_admits_the_texts_of_its_values(sentences: Sentences, python_type: Any, expected: set[str]) -> None:
    assert sentences(type_grammar(python_type)) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: choice_grammar([]),
        lambda: choice_grammar(["a", ""]),
        lambda: choice_grammar(["a", "b", "a"]),
        lambda: type_grammar(object()),
        lambda: type_grammar(set),
        lambda: type_grammar(lambda x: x),
        lambda: type_grammar(type("Calls", (BaseModel,), {"__annotations__": {"f": Callable[[], int]}})),
        lambda: regex_grammar("(ab"),
        lambda: regex_grammar("(?=a)b"),
        lambda: regex_grammar(r"[^\s\S]"),
        lambda: lark_grammar("start: foo"),
        lambda: lark_grammar('foo: "a"'),
        lambda: lark_grammar("start"),
        lambda: json_grammar({"type": "nonsense"}),
        lambda: json_grammar({"type": "string", "pattern": "("}),
        lambda: json_grammar({"type": object()}),
        lambda: GrammarSpec("{}"),
        lambda: GrammarSpec("nonsense"),
    ],
)
def test_what_is_no_grammar_is_one_line_of_grammar_error(vocabulary: Vocabulary, make: Callable[[], Any]) -> None:
    with pytest.raises(GrammarError) as caught:
        vocabulary.state(make(), ())

    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) > 20


def test_a_pattern_that_does_not_parse_is_told_why(vocabulary: Vocabulary) -> None:
    with pytest.raises(GrammarError, match="unclosed group"):
        vocabulary.state(regex_grammar("(ab"), ())
