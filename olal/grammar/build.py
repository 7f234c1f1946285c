"""From what a user has (choices, a type, a schema, a pattern) to one canonical GrammarSpec.

outlines is the front that understands Python types; llguidance's own notation is the canonical text, because the
same text is what an engine's guidance backend and the learner's matcher both compile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

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
    return _spec({"name": "regex", "lark_grammar": f"start: /{_escape_slashes(pattern)}/"})


def lark_grammar(text: str) -> GrammarSpec:
    """Grammar given in Lark notation with a rule named `start`."""
    return _spec({"name": "lark", "lark_grammar": text})


def json_grammar(schema: Mapping[str, Any]) -> GrammarSpec:
    """Grammar of the JSON texts valid under a JSON Schema, written without whitespace.

    Flexible whitespace would give one action many spellings and spread its probability over them.
    """
    compact = {**schema, "x-guidance": {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}}
    return _spec({"name": "json", "json_schema": compact})


def type_grammar(python_type: Any) -> GrammarSpec:
    """Grammar of a Python type: Literal, Enum, pydantic model, dataclass, or an outlines term (Regex, CFG, ...).

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
            return json_grammar(json.loads(term.schema))
        if isinstance(term, CFG):
            return lark_grammar(term.definition)
        return regex_grammar(to_regex(term))
    except (TypeError, NotImplementedError) as error:
        raise GrammarError(f"no grammar for this type ({error}): {python_type!r}") from error


def _spec(grammar: Mapping[str, Any]) -> GrammarSpec:
    return GrammarSpec(json.dumps({"grammars": [grammar]}, separators=(",", ":"), sort_keys=False))


def _escape_slashes(pattern: str) -> str:
    """Escape the slashes that would end a Lark pattern, leaving those already escaped."""
    escaped: list[str] = []
    backslashes = 0
    for character in pattern:
        if character == "/" and backslashes % 2 == 0:
            escaped.append("\\")
        backslashes = backslashes + 1 if character == "\\" else 0
        escaped.append(character)
    return "".join(escaped)
