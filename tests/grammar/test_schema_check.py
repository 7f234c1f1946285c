"""Pinned: every keyword of the drafts is enforced, an annotation, or refused with its path; the lists agree with the
library; a schema without a (finite) value is an error at construction that says where.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from olal.errors import GrammarError, UnsupportedSchema
from olal.grammar import Vocabulary, json_grammar
from olal.grammar.schema_check import ANNOTATIONS, ENFORCED
from olal.types import GrammarSpec

# Of each keyword of drafts 3 to 2020-12 a schema in which it would bind, and a value that it forbids.
BINDING: dict[str, tuple[dict[str, Any], Any]] = {
    "type": ({"type": "string"}, 1),
    "enum": ({"enum": [1, 2]}, 3),
    "const": ({"const": 1}, 2),
    "multipleOf": ({"type": "integer", "multipleOf": 3}, 4),
    "maximum": ({"type": "number", "maximum": 3}, 4),
    "exclusiveMaximum": ({"type": "number", "exclusiveMaximum": 3}, 3),
    "minimum": ({"type": "number", "minimum": 3}, 2),
    "exclusiveMinimum": ({"type": "number", "exclusiveMinimum": 3}, 3),
    "maxLength": ({"type": "string", "maxLength": 2}, "abc"),
    "minLength": ({"type": "string", "minLength": 2}, "a"),
    "pattern": ({"type": "string", "pattern": "^a+$"}, "b"),
    "format": ({"type": "string", "format": "uuid"}, "b"),
    "items": ({"type": "array", "items": {"type": "null"}}, [1]),
    "additionalItems": ({"type": "array", "items": [{}], "additionalItems": False}, [1, 2]),
    "prefixItems": ({"type": "array", "prefixItems": [{"type": "null"}]}, [1]),
    "maxItems": ({"type": "array", "maxItems": 1}, [1, 2]),
    "minItems": ({"type": "array", "minItems": 1}, []),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [1, 1]),
    "contains": ({"type": "array", "contains": {"const": 1}}, [2]),
    "minContains": ({"type": "array", "minContains": 1}, []),
    "maxContains": ({"type": "array", "maxContains": 1}, [1, 1]),
    "unevaluatedItems": ({"type": "array", "unevaluatedItems": False}, [1]),
    "maxProperties": ({"type": "object", "maxProperties": 1}, {"a": 1, "b": 2}),
    "minProperties": ({"type": "object", "minProperties": 1}, {}),
    "required": ({"type": "object", "required": ["a"]}, {}),
    "properties": ({"type": "object", "properties": {"a": {"type": "null"}}}, {"a": 1}),
    "patternProperties": ({"type": "object", "patternProperties": {"^a": {"type": "null"}}}, {"ab": 1}),
    "additionalProperties": ({"type": "object", "additionalProperties": False}, {"a": 1}),
    "propertyNames": ({"type": "object", "propertyNames": {"pattern": "^b"}}, {"a": 1}),
    "dependencies": ({"type": "object", "dependencies": {"a": ["b"]}}, {"a": 1}),
    "dependentRequired": ({"type": "object", "dependentRequired": {"a": ["b"]}}, {"a": 1}),
    "dependentSchemas": ({"type": "object", "dependentSchemas": {"a": False}}, {"a": 1}),
    "unevaluatedProperties": ({"type": "object", "unevaluatedProperties": False}, {"a": 1}),
    "allOf": ({"allOf": [{"type": "null"}]}, 1),
    "anyOf": ({"anyOf": [{"type": "null"}]}, 1),
    "oneOf": ({"oneOf": [{"type": "null"}]}, 1),
    "not": ({"not": {"type": "null"}}, None),
    "if": ({"if": {"type": "null"}, "then": False}, None),
    "then": ({"if": {"type": "null"}, "then": False}, None),
    "else": ({"if": {"type": "null"}, "else": False}, 1),
    "$ref": ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, 1),
    "$dynamicRef": ({"$dynamicRef": "#a", "$defs": {"a": {"$dynamicAnchor": "a", "type": "null"}}}, 1),
    "$recursiveRef": ({"type": "array", "items": {"$recursiveRef": "#"}}, [1]),
    "divisibleBy": ({"type": "integer", "divisibleBy": 3}, 4),
    "disallow": ({"disallow": "null"}, None),
    "extends": ({"extends": {"type": "null"}}, 1),
    "nullable": ({"type": "string", "nullable": True}, 1),
}


def admits(spec: GrammarSpec, value: Any) -> bool:
    """Whether the library reads a value byte by byte."""
    from olal.grammar.matcher import _byte_tokenizer

    matcher = LLMatcher(_byte_tokenizer(), spec.text, log_level=0)
    text = json.dumps(value, separators=(",", ":")).encode()
    return matcher.try_consume_tokens(list(text)) == len(text) and matcher.is_accepting()


@pytest.mark.parametrize("keyword", BINDING)
def test_a_keyword_binds_or_is_refused(keyword: str) -> None:
    schema, forbidden = BINDING[keyword]

    if keyword in ENFORCED:
        assert not admits(json_grammar(schema), forbidden)
    else:
        with pytest.raises(UnsupportedSchema, match=r"^\$\."):
            json_grammar(schema)


def test_every_enforced_keyword_is_probed() -> None:
    assert set(BINDING) >= ENFORCED
    assert not ENFORCED & ANNOTATIONS


@pytest.mark.parametrize("keyword", sorted(ANNOTATIONS - {"$defs", "definitions", "$id", "$schema", "$vocabulary"}))
def test_an_annotation_changes_nothing(keyword: str) -> None:
    annotated = {"type": "integer", keyword: "note"}

    assert admits(json_grammar(annotated), 3)
    assert not admits(json_grammar(annotated), "a")


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ({"properties": {"tags": {"type": "array", "uniqueItems": True}}}, "$.properties.tags.uniqueItems"),
        ({"anyOf": [{"type": "null"}, {"items": {"not": {}}}]}, "$.anyOf.1.items.not"),
        ({"$defs": {"a": {"contains": 1}}, "$ref": "#/$defs/a"}, "$.$defs.a.contains"),
        ({"prefixItems": [{"maxLenght": 3}]}, "$.prefixItems.0.maxLenght"),
        ({"additionalProperties": {"if": {}}}, "$.additionalProperties.if"),
        ({"exclusiveMinimum": True}, "$.exclusiveMinimum"),
        ({"type": "object", "minProperties": 2}, "$.minProperties"),
        ({"properties": {"a": {"type": "string", "format": "bogus"}}, "required": ["a"]}, "$.properties.a"),
        ({"properties": {"a": {"oneOf": [{}, {"type": "null"}]}}}, "$.properties.a"),
    ],
)
def test_what_is_unsupported_is_named_with_its_path(schema: dict[str, Any], path: str) -> None:
    with pytest.raises(UnsupportedSchema) as caught:
        json_grammar(schema)

    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_names_of_properties_are_not_keywords() -> None:
    names = ["not", "if", "uniqueItems", "x-decision", "properties", "$ref"]
    spec = json_grammar({"type": "object", "properties": {name: {"type": "null"} for name in names}})

    assert admits(spec, dict.fromkeys(names))


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 1}, "$"),
        ({"type": "integer", "exclusiveMinimum": 2, "exclusiveMaximum": 3}, "$"),
        ({"type": "string", "minLength": 3, "maxLength": 1}, "$"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, "$"),
        ({"enum": []}, "$"),
        ({"anyOf": []}, "$"),
        ({"const": 1, "enum": [2]}, "$"),
        ({"type": "string", "const": 1}, "$"),
        ({"allOf": [{"type": "null"}, {"type": "string"}]}, "$"),
        ({"type": "string", "pattern": "^a$", "minLength": 3}, "$"),
        ({"type": "integer", "multipleOf": 5, "minimum": 6, "maximum": 9}, "$"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "$"),
        ({"type": "object", "properties": {}, "required": ["a"], "additionalProperties": False}, "$"),
        ({"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}, "$.properties.a"),
        ({"type": "array", "items": {"type": "string", "minLength": 4, "maxLength": 2}, "minItems": 1}, "$.items"),
        ({"$ref": "#/$defs/gone"}, "$"),
        ({"type": "nonsense"}, "$"),
        ({"type": "string", "minLength": "3"}, "$"),
    ],
)
def test_a_schema_without_a_value_is_refused_at_construction(schema: dict[str, Any], where: str) -> None:
    with pytest.raises(GrammarError) as caught:
        json_grammar(schema)

    assert str(caught.value).startswith(f"{where}: ")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {
            "$defs": {"a": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}},
            "$ref": "#/$defs/a",
        },
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "array", "prefixItems": [{}, {"$ref": "#"}], "minItems": 2},
        {
            "type": "object",
            "properties": {"a": {"anyOf": [{"$ref": "#"}, {"allOf": [{}, {"$ref": "#"}]}]}},
            "required": ["a"],
        },
    ],
)
def test_a_schema_that_requires_itself_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(GrammarError, match="infinite"):
        json_grammar(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"$ref": "#"}},
        {"type": ["object", "null"], "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"anyOf": [{"type": "string", "minLength": 2, "maxLength": 1}, {"type": "null"}]},
    ],
)
def test_a_schema_that_can_end_is_kept(schema: dict[str, Any]) -> None:
    json_grammar(schema)


@given(st.dates(), st.integers(0, 31), st.sampled_from(["", "T10:00:59Z"]))
def test_dates_are_those_of_the_calendar(date: datetime.date, day: int, time: str) -> None:
    spec = json_grammar({"type": "string", "format": "date-time" if time else "date"})
    text = re.sub(r"..$", f"{day:02d}", date.isoformat())

    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        assert not admits(spec, text + time)
    else:
        assert admits(spec, text + time)


@pytest.mark.parametrize("date", ["2023-02-29", "1900-02-29", "0000-01-01", "2024-02-30", "2024-04-31"])
def test_days_that_are_not_in_the_calendar_are_no_dates(date: str) -> None:
    assert not admits(json_grammar({"type": "string", "format": "date"}), date)
    assert not admits(json_grammar({"properties": {"on": {"type": "string", "format": "date"}}}), {"on": date})


def test_a_date_s_own_pattern_still_holds(vocabulary: Vocabulary, sample: Callable[[GrammarSpec, int], str]) -> None:
    spec = json_grammar({"type": "string", "format": "date", "pattern": "^2024", "allOf": [{"pattern": "-02-"}]})

    assert all(re.fullmatch(r'"2024-02-[0-9]{2}"', sample(spec, seed)) for seed in range(10))
    assert admits(spec, "2024-02-29")
    assert not admits(spec, "2023-02-28")
