"""Pinned: a tool grammar admits calls of its tools with valid arguments and nothing else, one or an array of them;
reading is the inverse of writing and refuses every other text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from olal.errors import GrammarError, UnsupportedSchema
from olal.grammar import ToolCall, Vocabulary, parse_tool_calls, tool_grammar

Sentences = Callable[..., set[str]]


def look(where: Literal["up", "down"], far: bool = False) -> None: ...


class Take(BaseModel):
    item: Literal["key"] = Field(json_schema_extra={"x-decision": True})


@dataclass
class Drop:
    count: Literal[1, 2]


SAY = {
    "name": 'say "é"',
    "parameters": {
        "$defs": {"word": {"enum": ["hi", "ho"]}},
        "properties": {"word": {"$ref": "#/$defs/word"}},
        "required": ["word"],
        "additionalProperties": False,
    },
}
CALLS = {
    '{"name":"look","arguments":{"where":"up"}}',
    '{"name":"look","arguments":{"where":"down"}}',
    '{"name":"look","arguments":{"where":"up","far":true}}',
    '{"name":"look","arguments":{"where":"up","far":false}}',
    '{"name":"look","arguments":{"where":"down","far":true}}',
    '{"name":"look","arguments":{"where":"down","far":false}}',
    '{"name":"Take","arguments":{"item":"key"}}',
    '{"name":"Drop","arguments":{"count":1}}',
    '{"name":"Drop","arguments":{"count":2}}',
    '{"name":"say \\"é\\"","arguments":{"word":"hi"}}',
    '{"name":"say \\"é\\"","arguments":{"word":"ho"}}',
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def test_one_call_of_any_tool(sentences: Sentences) -> None:
    assert sentences(tool_grammar([look, Take, Drop, SAY])) == CALLS


def test_parallel_calls_are_an_array_of_at_most_so_many(sentences: Sentences) -> None:
    found = sentences(tool_grammar([Take, Drop], parallel=True, max_calls=2))

    calls = [call for call in CALLS if "Take" in call or "Drop" in call]
    assert found == {f"[{a}]" for a in calls} | {f"[{a},{b}]" for a in calls for b in calls}


def test_decisions_of_a_tool_lie_under_its_arguments() -> None:
    assert tool_grammar([Take, Drop]).decisions == ("arguments.item",)
    assert tool_grammar([Take], parallel=True).decisions == ("*.arguments.item",)


def test_every_sentence_is_read_back(sentences: Sentences) -> None:
    for text in sentences(tool_grammar([look, SAY], parallel=True, max_calls=1)):
        [call] = parse_tool_calls(text)
        assert [{"name": call.name, "arguments": call.arguments}] == json.loads(text)


@given(st.lists(st.builds(ToolCall, st.text(), st.dictionaries(st.text(), JSON)), min_size=1, max_size=3))
def test_reading_is_the_inverse_of_writing(calls: list[ToolCall]) -> None:
    written = [{"name": call.name, "arguments": call.arguments} for call in calls]

    assert parse_tool_calls(json.dumps(written)) == calls
    assert parse_tool_calls(json.dumps(written[0])) == calls[:1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '"look"',
        "{}",
        '{"name":"a"}',
        '{"name":"a","arguments":{},"id":1}',
        '{"name":"a","arguments":[]}',
        '{"name":1,"arguments":{}}',
        '{"name":"a","name":"b","arguments":{}}',
        '{"name":"a","arguments":{"x":1,"x":2}}',
        '{"name":"a","arguments":{"x":NaN}}',
        '[{"name":"a","arguments":{}},3]',
        '{"name":"a","arguments":{}} and more',
        "[" * 100_000,
    ],
)
def test_a_text_that_is_no_call_is_refused(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_tool_calls(text)


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ([], "at least one"),
        ([look, look], "another name"),
        ([lambda x: x], "annotation"),
        ([3], "must be a function"),
        ([int], "must be a function"),
        ([{"name": "a"}], "parameters"),
        ([{"name": "a", "parameters": {"type": "array"}}], "must be an object"),
        ([{"name": "a", "parameters": {"properties": {"n": False}, "required": ["n"]}}], "tool a: .*unsatisfiable"),
    ],
)
def test_what_is_no_tool_is_refused_with_its_reason(tools: list[Any], reason: str) -> None:
    with pytest.raises(GrammarError, match=reason):
        tool_grammar(tools)


def test_an_unsupported_keyword_of_a_tool_is_named_with_tool_and_path(vocabulary: Vocabulary) -> None:
    parameters = {"properties": {"tags": {"type": "array", "uniqueItems": True}}}

    with pytest.raises(UnsupportedSchema, match=r"tool a: \$\.properties\.tags\.uniqueItems"):
        tool_grammar([{"name": "a", "parameters": parameters}])
    with pytest.raises(GrammarError, match="max_calls"):
        tool_grammar([look], parallel=True, max_calls=0)
