"""Unions: a grammar whose sentences are those of any of several others."""

from __future__ import annotations

import json
import re

from olal.errors import GrammarError
from olal.grammar.grammar_text import make_spec, members_of
from olal.grammar.matcher import compile_problem, first_bytes
from olal.types import GrammarSpec

_ONE_PATTERN = re.compile(r"start: /(?:\\.|[^/\\\n])+/")
_CHOICES = re.compile(r'start: "(?:\\.|[^"\\])*"( \| "(?:\\.|[^"\\])*")*')


def union_grammar(*specs: GrammarSpec) -> GrammarSpec:
    """Grammar of the sentences of any of these grammars, of whatever kinds.

    The matcher reads terminals as lexers do: the longest one that still fits is taken, and it does not go back. A
    pattern beside a structured grammar that may begin alike would swallow the other's terminals and make part of its
    sentences impossible, so that is refused. Patterns and choices among themselves are united exactly. Between two
    grammars in Lark notation it is for their writer to see that no terminal of one runs on where another's ends.

    Args:
        specs: at least one; the same twice counts once.

    Raises:
        GrammarError: no grammar, one that does not compile, or a pattern that may begin like a structured grammar.
    """
    distinct = list(dict.fromkeys(specs))
    if not distinct:
        raise GrammarError("a union needs at least one grammar: none given")
    if len(distinct) == 1:
        return distinct[0]
    for spec in distinct:
        if problem := compile_problem(spec.text):
            raise GrammarError(f"a part of the union does not compile ({problem}): {spec.text[:200]}")
    _check_beginnings(distinct)
    parts = [members_of(spec, f"g{i}") for i, spec in enumerate(distinct)]
    start = {"name": "union", "lark_grammar": "start: " + " | ".join(f"@g{i}" for i in range(len(parts)))}
    decisions = [path for spec in distinct for path in spec.decisions]
    union = make_spec([start, *(member for part in parts for member in part)], decisions)
    if problem := compile_problem(union.text):
        raise GrammarError(f"the union does not compile: {problem}")
    return union


def _check_beginnings(specs: list[GrammarSpec]) -> None:
    kinds = [_kind(spec) for spec in specs]
    patterns = [spec for spec, kind in zip(specs, kinds, strict=True) if kind == "pattern"]
    structured = [spec for spec, kind in zip(specs, kinds, strict=True) if kind == "structured"]
    for pattern in patterns:
        for other in structured:
            if shared := first_bytes(pattern) & first_bytes(other):
                letter = bytes([min(shared)]).decode("ascii", "backslashreplace")
                raise GrammarError(
                    f"a pattern in a union must not begin like a structured grammar beside it, since the longest "
                    f"terminal wins; both may begin with {letter!r}: {pattern.text[:200]}"
                )


def _kind(spec: GrammarSpec) -> str:
    """A sentence of a pattern or of choices is one terminal; all else is structured."""
    members = json.loads(spec.text)["grammars"]
    text = members[0].get("lark_grammar", "")
    if len(members) > 1 or not text:
        return "structured"
    if _CHOICES.fullmatch(text):
        return "choices"
    return "pattern" if _ONE_PATTERN.fullmatch(text) else "structured"
