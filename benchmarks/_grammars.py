"""Fifty schemas and grammars of all kinds, each with a validator that shares no code with the matcher.

The validators are jsonschema, pydantic, the standard library's `re`, and lark. Tests use the same list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from jsonschema import Draft202012Validator, FormatChecker
from lark import Lark
from lark.exceptions import LarkError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from olal.grammar import (
    choice_grammar,
    json_grammar,
    lark_grammar,
    regex_grammar,
    tool_grammar,
    type_grammar,
    union_grammar,
)
from olal.types import GrammarSpec


@dataclass(frozen=True, slots=True)
class Case:
    """A grammar and who judges its sentences.

    Attributes:
        name: kind and what is special about it.
        spec: the grammar.
        is_valid: whether a text is a sentence, by a library other than the matcher's.
    """

    name: str
    spec: GrammarSpec
    is_valid: Callable[[str], bool]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


STRING = {"type": "string"}
NUMBER = {"type": "number"}
DIGIT = {"type": "integer", "minimum": 0, "maximum": 9}
NODES = {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3}
TREE = {"$defs": {"node": _object(value=DIGIT, children={"$ref": "#/$defs/nodes"}), "nodes": NODES}}
POINT = {"$ref": "#/$defs/point"}
NULL = {"type": "null"}
MOVE = _object(to={"enum": ["left", "right"]}, steps={"type": "integer", "minimum": 1, "maximum": 12})
SAY = _object(text={"type": "string", "maxLength": 12})
TOOLS = [{"name": "move", "parameters": MOVE}, {"name": "say", "parameters": SAY}]
CALL = {"oneOf": [_object(name={"const": tool["name"]}, arguments=tool["parameters"]) for tool in TOOLS]}

SCHEMAS: dict[str, Any] = {
    "enum": {"enum": ["north", "south", 3, None, True, {"a": [1]}]},
    "const": {"const": {"done": True, "why": 'a "quoted" \\ text\n'}},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer"},
    "integer bounds": {"type": "integer", "minimum": -120, "maximum": 77},
    "integer exclusive": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1000},
    "integer multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    "number": NUMBER,
    "number bounds": {"type": "number", "minimum": -0.5, "maximum": 2.25},
    "string": STRING,
    "string length": {"type": "string", "minLength": 3, "maxLength": 9},
    "string unicode": {"type": "string", "pattern": "^[äöüß☃]{1,6}$"},
    "string pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
    "string date": {"type": "string", "format": "date"},
    "string uuid": {"type": "string", "format": "uuid"},
    "string ipv4": {"type": "string", "format": "ipv4"},
    "array": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}},
    "array sizes": {"type": "array", "items": STRING, "minItems": 2, "maxItems": 4},
    "array tuple": {"type": "array", "prefixItems": [STRING, NUMBER, NULL], "items": False, "minItems": 3},
    "array nested": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "array", "items": NULL}},
    },
    "object": _object(action={"enum": ["go", "stop"]}, speed={"type": "integer", "minimum": 0, "maximum": 5}),
    "object optional": {**_object(a=STRING, b=NUMBER, c={"type": "boolean"}), "required": ["b"]},
    "object open": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    "object map": {"type": "object", "additionalProperties": DIGIT},
    "object patterns": {
        "type": "object",
        "patternProperties": {"^n_[a-z]{1,4}$": {"type": "integer"}, "^s_[a-z]{1,4}$": {"enum": ["x", "y"]}},
        "additionalProperties": False,
    },
    "object sizes": {
        "type": "object",
        "additionalProperties": NULL,
        "minProperties": 1,
        "maxProperties": 3,
    },
    "object deep": _object(a=_object(b=_object(c=_object(d=_object(e={"enum": ["deep", "deeper"]}))))),
    "any of": {"anyOf": [_object(kind={"const": "a"}, n=NUMBER), _object(kind={"const": "b"}, s=STRING), NULL]},
    "one of": {"oneOf": [_object(kind={"const": "cat"}, lives=NUMBER), _object(kind={"const": "dog"}, name=STRING)]},
    "all of": {"allOf": [{"type": "integer", "minimum": 5}, {"maximum": 60}, {"multipleOf": 5}]},
    "types": {"type": ["string", "null", "boolean"], "maxLength": 6},
    "tree": {**TREE, "$ref": "#/$defs/node"},
    "definitions": {"$defs": {"point": _object(x=NUMBER, y=NUMBER)}, **_object(a=POINT, b=POINT)},
}
PATTERNS = {
    "letters": r"[a-z]{3,40}",
    "choice": r"(left|right)( [0-9]{1,3}){0,2}",
    "hex": r"0x[0-9a-f]{1,8}",
    "time": r"([01][0-9]|2[0-3]):[0-5][0-9]",
    "quoted": r'"([^"\\\n]|\\["\\n])*"',
    "unicode": r"[à-ÿ☃😀]{1,8}",
    "optional": r"(a?b?c?){1,5}d",
    "slashes": r"(/[a-z]+)+/?",
}
LARKS = {
    "brackets": 'start: pair+\npair: "(" pair* ")" | "[" pair* "]"',
    "arithmetic": (
        'start: sum\nsum: product (("+" | "-") product)*\nproduct: atom (("*" | "/") atom)*\n'
        'atom: NUMBER | "(" sum ")"\nNUMBER: /[0-9]{1,4}/'
    ),
    "palindrome": 'start: "a" start "a" | "b" start "b" | "c"',
    "let": 'start: "let " NAME "=" value (";let " NAME "=" value)*\nvalue: NAME | /[0-9]/\nNAME: /[a-z]{1,3}/',
}


class Step(BaseModel):
    """A step with bounds, a literal and an optional part."""

    tool: Literal["look", "take"]
    times: int = Field(ge=1, le=9)
    note: str | None = Field(default=None, max_length=8)


def _by_schema(schema: Any) -> Callable[[str], bool]:
    validator = Draft202012Validator(schema, format_checker=FormatChecker())

    def is_valid(text: str) -> bool:
        try:
            return validator.is_valid(json.loads(text))
        except ValueError:
            return False

    return is_valid


def _by_type(python_type: Any) -> Callable[[str], bool]:
    adapter = TypeAdapter(python_type)

    def is_valid(text: str) -> bool:
        try:
            adapter.validate_json(text)
        except ValidationError:
            return False
        return True

    return is_valid


def _by_pattern(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _by_lark(text: str) -> Callable[[str], bool]:
    parser = Lark(text, parser="earley", lexer="dynamic_complete")

    def is_valid(sentence: str) -> bool:
        try:
            parser.parse(sentence)
        except LarkError:
            return False
        return True

    return is_valid


def _corpus() -> list[Case]:
    moves = ["left", "right", "left turn", "é☃", '{"quoted"}', "tab\there"]
    union = union_grammar(json_grammar(MOVE), choice_grammar(["stop", "wait"]), regex_grammar("[0-9]{1,3}"))
    is_move = _by_schema(MOVE)
    return [
        *(Case(f"json: {name}", json_grammar(schema), _by_schema(schema)) for name, schema in SCHEMAS.items()),
        *(Case(f"regex: {name}", regex_grammar(pattern), _by_pattern(pattern)) for name, pattern in PATTERNS.items()),
        *(Case(f"lark: {name}", lark_grammar(text), _by_lark(text)) for name, text in LARKS.items()),
        Case("choices", choice_grammar(moves), set(moves).__contains__),
        Case("type: pydantic", type_grammar(Step), _by_type(Step)),
        Case("tools: one", tool_grammar(TOOLS), _by_schema(CALL)),
        Case(
            "tools: parallel",
            tool_grammar(TOOLS, parallel=True, max_calls=3),
            _by_schema({"type": "array", "items": CALL, "minItems": 1, "maxItems": 3}),
        ),
        Case(
            "union",
            union,
            lambda text: text in ("stop", "wait") or re.fullmatch("[0-9]{1,3}", text) is not None or is_move(text),
        ),
    ]


CORPUS = _corpus()
