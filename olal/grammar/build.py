"""From choices, a pattern, a schema or a Lark text to one canonical GrammarSpec.

llguidance's own notation is the canonical text, because the same text is what an engine's guidance backend and the
learner's matcher both compile.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from olal.errors import GrammarError
from olal.grammar.grammar_text import make_spec
from olal.grammar.schema_check import COMPACT, check_schema
from olal.grammar.schema_decisions import take_decisions
from olal.grammar.schema_formats import with_exact_formats
from olal.types import GrammarSpec

_checked: dict[str, None] = {}


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
    return make_spec([{"name": "regex", "lark_grammar": f"start: /{pattern_text(pattern)}/"}])


def lark_grammar(text: str) -> GrammarSpec:
    """Context-free grammar with a rule named `start`, in Lark's notation, which is an EBNF.

    Rules are in lower case and may refer to themselves and each other; terminals are in upper case, strings or
    patterns. The longest terminal that fits is taken, as a lexer does.
    """
    return make_spec([{"name": "lark", "lark_grammar": text}])


def json_grammar(schema: Mapping[str, Any]) -> GrammarSpec:
    """Grammar of the JSON texts valid under a JSON Schema, written without whitespace.

    Flexible whitespace would give one action many spellings and spread its probability over them. Numbers keep the
    spellings that JSON gives them ("-0", "1.50"); where that matters, use a pattern.

    A property whose schema has `"x-decision": true` is a decision: its path goes to the spec's `decisions`, and the
    text is the same as without.

    Args:
        schema: as the standard reads it; an object without `additionalProperties: false` may have any other property.

    Raises:
        UnsupportedSchema: a keyword or format that is not enforced, with its path in the schema.
        GrammarError: the schema holds what JSON cannot, or no value is valid under it.
    """
    clean, decisions = take_decisions(schema)
    spec = make_spec([{"name": "json", "json_schema": {**with_exact_formats(clean), "x-guidance": COMPACT}}], decisions)
    if spec.text not in _checked:
        check_schema(clean)
        _checked[spec.text] = None
        if len(_checked) > 4096:
            del _checked[next(iter(_checked))]
    return spec


def pattern_text(pattern: str) -> str:
    """The pattern as it stands between the slashes of a Lark text.

    What would end it, slashes and line breaks, is escaped unless it already is.
    """
    escaped: list[str] = []
    backslashes = 0
    for character in pattern:
        if character in "/\n" and backslashes % 2 == 0:
            escaped.append("\\")
        backslashes = backslashes + 1 if character == "\\" else 0
        escaped.append("n" if character == "\n" else character)
    return "".join(escaped)
