"""Pinned: at every character of any JSON text the tracker names the path that a full parse of the text gives it,
however the text is cut into pieces; a mark in a schema is recorded as a path, followed through references, and is a
decision at each character of its value and at no other.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from olal.errors import GrammarError
from olal.grammar import DecisionTracker, JsonPath, choice_grammar, is_decision, json_grammar, type_grammar
from olal.types import GrammarSpec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
Where = list[tuple[str, tuple[str | int, ...], bool]]


def places(value: Any, path: tuple[str | int, ...] = (), *, ascii_only: bool) -> Where:
    """Each character of the value's text, with the path of the innermost value it belongs to; written recursively.

    The flag is False for what stands around values; a container's own opening bracket belongs to it.
    """
    if isinstance(value, list):
        found = [("[", path, True)]
        for i, item in enumerate(value):
            found += [(",", path, False)] if i else []
            found += places(item, (*path, i), ascii_only=ascii_only)
        return [*found, ("]", path, False)]
    if isinstance(value, dict):
        found = [("{", path, True)]
        for i, (key, inner) in enumerate(value.items()):
            found += [(",", path, False)] if i else []
            found += [(c, path, False) for c in json.dumps(key, ensure_ascii=ascii_only) + ":"]
            found += places(inner, (*path, key), ascii_only=ascii_only)
        return [*found, ("}", path, False)]
    return [(c, path, True) for c in json.dumps(value, ensure_ascii=ascii_only)]


@given(VALUES, st.booleans())
def test_the_path_of_every_character_is_that_of_a_full_parse(value: Any, ascii_only: bool) -> None:
    tracker = JsonPath()
    expected = places(value, ascii_only=ascii_only)
    assert "".join(c for c, _, _ in expected) == json.dumps(value, ensure_ascii=ascii_only, separators=(",", ":"))

    for character, path, is_value in expected:
        if is_value:
            assert tracker.is_value
            assert tracker.path == path
        elif character not in ",]}":
            assert not tracker.is_value
        tracker.advance(character)
    assert tracker.path == ()


@given(VALUES, st.lists(st.integers(0, 60), max_size=6))
def test_the_pieces_do_not_matter_even_within_a_character(value: Any, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    whole, pieces = JsonPath(), JsonPath()

    whole.advance(text[: edges[-2]])
    for start, end in pairwise(edges[:-1]):
        pieces.advance(text[start:end])

    assert (whole.path, whole.is_value) == (pieces.path, pieces.is_value)


def marked(**options: Any) -> dict[str, Any]:
    return {"x-decision": True, **options}


STEPS = {
    "$defs": {
        "step": {
            "type": "object",
            "properties": {
                "tool": marked(enum=["a", "b"]),
                "why": {"type": "string"},
                "then": {"$ref": "#/$defs/step"},
            },
        }
    },
    "type": "object",
    "properties": {
        "action": marked(type="string"),
        "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}},
        "map": {"type": "object", "additionalProperties": marked(type="integer")},
        "x-decision": {"type": "null"},
    },
}


def test_marks_become_paths_and_leave_the_text() -> None:
    spec = json_grammar(STEPS)

    assert spec.decisions[:3] == ("action", "steps.*.tool", "steps.*.then.tool")
    assert spec.decisions[-1] == "map.*"
    assert len(spec.decisions) == 6
    assert '"x-decision":true' not in spec.text
    assert '"x-decision":{"type":"null"}' in spec.text


def test_a_mark_changes_no_digest() -> None:
    plain = json_grammar({"properties": {"a": {"type": "null"}}})

    assert json_grammar({"properties": {"a": marked(type="null")}}).digest == plain.digest
    assert plain.decisions == ()


def test_a_pydantic_field_is_marked_by_its_extra() -> None:
    class Move(BaseModel):
        to: str = Field(json_schema_extra={"x-decision": True})
        why: str

    assert type_grammar(Move).decisions == ("to",)
    assert type_grammar(list[Move]).decisions == ("*.to",)


@pytest.mark.parametrize(
    ("schema", "paths"),
    [
        (marked(type="null"), ("",)),
        ({"anyOf": [{"properties": {"a": marked()}}, {"properties": {"a": marked(), "b": marked()}}]}, ("a", "b")),
        ({"prefixItems": [{}, marked()]}, ("*",)),
        ({"type": "array", "items": marked(type="array", items=marked(type="null"))}, ("*", "*.*")),
        ({"properties": {"a": {"x-decision": False}}}, ()),
    ],
)
def test_paths_of_marks(schema: dict[str, Any], paths: tuple[str, ...]) -> None:
    assert json_grammar(schema).decisions == paths


@pytest.mark.parametrize(
    "schema", [{"x-decision": "yes"}, {"properties": {"a.b": marked()}}, {"properties": {"": marked()}}]
)
def test_a_mark_that_no_path_can_hold_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        json_grammar(schema)


@pytest.mark.parametrize(
    "text",
    [
        '{"action":«"go"»,"steps":[{"tool":«"a"»,"why":"w"}],"map":{"k":«12,»"m":«3}»}',
        '{"steps":[{"then":{"then":{"tool":«"b"»}}},{"tool":«"a"»}]}',
        '{"action":«"a\\"\\u00e9☃"»}',
    ],
)
def test_decisions_are_the_characters_of_marked_values(text: str) -> None:
    """A number may go on where a comma stands, so the place after it counts too."""
    spec = json_grammar(STEPS)
    tracker, plain, is_marked = DecisionTracker(spec), "", False

    for character in text:
        if character in "«»":
            is_marked = character == "«"
            continue
        assert is_decision(spec, plain) == is_decision(spec, plain.encode()) == tracker.is_decision == is_marked
        tracker.advance(character)
        plain += character


@pytest.mark.parametrize(
    ("value", "goes_on"), [("true", False), ("null", False), ("tru", True), ("12", True), ('"a"', False)]
)
def test_a_literal_is_over_with_its_last_letter(value: str, goes_on: bool) -> None:
    assert is_decision(GrammarSpec("", decisions=("a",)), f'{{"a":{value}') == goes_on


def test_all_of_a_marked_object_is_a_decision() -> None:
    spec = GrammarSpec("", decisions=("a",))

    found = [is_decision(spec, '{"a":{"b":[1,"x"]},"c":1}'[:i]) for i in range(25)]

    assert found == [5 <= i <= 17 for i in range(25)]


@given(st.text(max_size=20))
def test_text_that_is_no_json_does_no_harm(text: str) -> None:
    is_decision(GrammarSpec("", decisions=("a", "*.b")), text)
    assert not is_decision(choice_grammar(["a"]), text)
