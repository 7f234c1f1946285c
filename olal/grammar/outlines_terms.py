"""From outlines' terms to grammars. The only door to outlines, which knows what each Python type looks like as text.

A regular term becomes one pattern, a schema or a Lark text a grammar of its own, and a compound of these a Lark rule
that refers to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import make_dataclass, replace
from typing import Any, TypeVar, cast, get_origin

from outlines.types import dsl

from olal.errors import GrammarError
from olal.grammar.build import choice_grammar, json_grammar, lark_grammar, pattern_text, regex_grammar
from olal.grammar.grammar_text import make_spec, members_of
from olal.grammar.union import union_grammar
from olal.types import GrammarSpec

_Result = TypeVar("_Result")


def grammar_of(python_type: Any) -> GrammarSpec:
    """See `type_grammar`."""
    return _guarded(python_type, lambda: _grammar(python_type))


def schema_of(python_type: Any) -> dict[str, Any]:
    """See `argument_schema`."""
    term = _guarded(python_type, lambda: dsl.python_types_to_terms(python_type))
    if not isinstance(term, dsl.JsonSchema):
        raise GrammarError(f"must be a function, or a type whose values are JSON objects: {python_type!r}")
    return closed_schema(json.loads(term.schema))


def closed_schema(schema: Any) -> Any:
    """The same JSON Schema, in which an object that names its properties has no others."""
    if isinstance(schema, list):
        return [closed_schema(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    closed: dict[str, Any] = {}
    for key, value in cast("dict[str, Any]", schema).items():
        if key in ("properties", "$defs"):
            closed[key] = {name: closed_schema(inner) for name, inner in value.items()}
        else:
            closed[key] = value if key in ("const", "default", "enum", "examples") else closed_schema(value)
    if "properties" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def _guarded(python_type: Any, make: Callable[[], _Result]) -> _Result:
    try:
        return make()
    except GrammarError:
        raise
    except (TypeError, ValueError, RuntimeError, NameError) as error:  # outlines' own, and what pydantic says
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GrammarError(f"no grammar for this type ({reason}): {python_type!r}") from error


def _grammar(python_type: Any) -> GrammarSpec:
    term = _term(python_type)
    if isinstance(term, dsl.Alternatives):
        if all(isinstance(part, dsl.String) and part.value for part in term.terms):
            return choice_grammar(list(dict.fromkeys(cast("dsl.String", part).value for part in term.terms)))
        if not _is_regular(term):
            return union_grammar(*map(_grammar, term.terms))
    if isinstance(term, dsl.JsonSchema):
        return json_grammar(closed_schema(json.loads(term.schema)))
    if isinstance(term, dsl.CFG):
        return lark_grammar(term.definition)
    if isinstance(term, dsl.String):
        return choice_grammar([term.value])
    return regex_grammar(dsl.to_regex(term)) if _is_regular(term) else _compound(term)


def _compound(term: dsl.Term) -> GrammarSpec:
    """Grammar of a term of which some part, but not the whole, has a grammar of its own."""
    parts: dict[GrammarSpec, str] = {}
    start = f"start: {_rule(term, parts)}"
    members = [member for spec, name in parts.items() for member in members_of(spec, name)]
    return make_spec([{"name": "compound", "lark_grammar": start}, *members])


def _rule(term: dsl.Term, parts: dict[GrammarSpec, str]) -> str:
    """The right side of a Lark rule; what has a grammar of its own gets a name in `parts`."""
    if isinstance(term, dsl.String):
        return json.dumps(term.value)
    if _is_regular(term):
        return f"/{pattern_text(dsl.to_regex(term))}/"
    if isinstance(term, dsl.JsonSchema | dsl.CFG):
        return f"@{parts.setdefault(_grammar(term), f'g{len(parts)}')}"
    if isinstance(term, dsl.Alternatives):
        return "(" + " | ".join(_rule(part, parts) for part in term.terms) + ")"
    if isinstance(term, dsl.Sequence):
        return " ".join(_rule(part, parts) for part in term.terms)
    repeated: Any = term
    return f"({_rule(repeated.term, parts)}){_repeats(repeated)}"


def _repeats(term: Any) -> str:
    simple: Mapping[type, str] = {dsl.KleeneStar: "*", dsl.KleenePlus: "+", dsl.Optional: "?"}
    if isinstance(term, dsl.QuantifyExact):
        return f"{{{term.count}}}"
    if isinstance(term, dsl.QuantifyMinimum):
        return f"{{{term.min_count},}}"
    if isinstance(term, dsl.QuantifyMaximum):
        return f"{{0,{term.max_count}}}"
    if isinstance(term, dsl.QuantifyBetween):
        return f"{{{term.min_count},{term.max_count}}}"
    return simple[type(term)]


def _term(python_type: Any) -> dsl.Term:
    """The outlines term of a type, to its leaves: `either` and its like keep the types they were given.

    Lists, tuples and dicts are JSON. outlines' own patterns for them admit texts in them that no JSON reader takes.
    """
    if python_type is dict:
        return dsl.JsonSchema({"type": "object"})
    if get_origin(python_type) in (dict, list, tuple):
        holder = dsl.python_types_to_terms(make_dataclass("Holder", [("value", python_type)]))
        schema: dict[str, Any] = json.loads(cast("dsl.JsonSchema", holder).schema)
        return dsl.JsonSchema({"$defs": schema.get("$defs", {}), **schema["properties"]["value"]})
    term: Any = dsl.python_types_to_terms(python_type)
    if isinstance(term, dsl.Alternatives | dsl.Choice):
        return dsl.Alternatives([_term(part) for part in (term.items if isinstance(term, dsl.Choice) else term.terms)])
    if isinstance(term, dsl.Sequence):
        return dsl.Sequence([_term(part) for part in term.terms])
    return replace(term, term=_term(term.term)) if hasattr(term, "term") else term


def _is_regular(term: dsl.Term) -> bool:
    """Whether outlines writes the whole term as one pattern without losing what a schema or a grammar says."""
    if isinstance(term, dsl.JsonSchema | dsl.CFG):
        return False
    if isinstance(term, dsl.Alternatives | dsl.Sequence):
        return all(map(_is_regular, term.terms))
    inner = getattr(term, "term", None)
    return inner is None or _is_regular(inner)
