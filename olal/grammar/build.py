"""From what a user has (choices, a type, a schema, a pattern) to one canonical GrammarSpec.

outlines is the front that understands Python types; llguidance's own notation is the canonical text, because the
same text is what an engine's guidance backend and the learner's matcher both compile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from olal.errors import GrammarError
from olal.types import GrammarSpec


def choice_grammar(choices: Sequence[str]) -> GrammarSpec:
    """Grammar of exactly these strings.

    Args:
        choices: non-empty, distinct texts.

    Raises:
        GrammarError: no choice, an empty one, or the same twice.
    """
    if not choices or any(not choice for choice in choices):
        raise GrammarError(f"a choice grammar needs at least one choice and no empty text: {list(choices)}")
    if len(set(choices)) != len(choices):
        raise GrammarError(f"choices must differ from each other: {list(choices)}")
    return _choice_grammar(tuple(choices))


@lru_cache(maxsize=4096)
def _choice_grammar(choices: tuple[str, ...]) -> GrammarSpec:
    return lark_grammar("start: " + " | ".join(json.dumps(choice) for choice in choices))


def regex_grammar(pattern: str) -> GrammarSpec:
    """Grammar of the strings that match `pattern` as a whole (no anchors, no look-around)."""
    return _spec({"name": "regex", "lark_grammar": f"start: /{_in_one_line(pattern)}/"})


def lark_grammar(text: str) -> GrammarSpec:
    """Grammar given in Lark notation with a rule named `start`."""
    return _spec({"name": "lark", "lark_grammar": text})


def json_grammar(schema: Mapping[str, Any]) -> GrammarSpec:
    """Grammar of the JSON texts valid under a JSON Schema, written without whitespace.

    Flexible whitespace would give one action many spellings and spread its probability over them. Numbers keep the
    spellings that JSON gives them ("-0", "1.50"); where that matters, use a pattern.

    Args:
        schema: as the standard reads it; an object without `additionalProperties: false` may have any other property.

    Raises:
        GrammarError: the schema holds what JSON cannot.
    """
    compact = {**schema, "x-guidance": {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}}
    return _spec({"name": "json", "json_schema": compact})


def type_grammar(python_type: Any) -> GrammarSpec:
    """Grammar of a Python type: Literal, Enum, pydantic model, dataclass, or an outlines term (Regex, CFG, ...).

    An object has the properties that its class names and no others, unless the class itself allows more.

    Args:
        python_type: whatever outlines accepts as an output type.

    Raises:
        GrammarError: outlines does not know the type.
    """
    from outlines.types import CFG, JsonSchema
    from outlines.types.dsl import python_types_to_terms, to_regex

    try:
        term = python_types_to_terms(python_type)
        if isinstance(term, JsonSchema):
            return json_grammar(_closed(json.loads(term.schema)))
        if isinstance(term, CFG):
            return lark_grammar(term.definition)
        return regex_grammar(to_regex(term))
    except GrammarError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # outlines' own, and what pydantic says of its models
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GrammarError(f"no grammar for this type ({reason}): {python_type!r}") from error


def _spec(grammar: Mapping[str, Any]) -> GrammarSpec:
    try:
        return GrammarSpec(json.dumps({"grammars": [grammar]}, separators=(",", ":"), sort_keys=False))
    except (TypeError, ValueError) as error:
        raise GrammarError(f"a schema must hold JSON values only ({error}): {grammar!r}") from error


def _closed(schema: Any) -> Any:
    """The same JSON Schema, in which an object that names its properties has no others."""
    if isinstance(schema, list):
        return [_closed(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in ("properties", "$defs"):
            closed[key] = {name: _closed(inner) for name, inner in value.items()}
        else:
            closed[key] = value if key in ("const", "default", "enum", "examples") else _closed(value)
    if "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def _in_one_line(pattern: str) -> str:
    """Escape what would end a Lark pattern, slashes and line breaks, leaving what is already escaped."""
    escaped: list[str] = []
    backslashes = 0
    for character in pattern:
        if character in "/\n" and backslashes % 2 == 0:
            escaped.append("\\")
        backslashes = backslashes + 1 if character == "\\" else 0
        escaped.append("n" if character == "\n" else character)
    return "".join(escaped)
