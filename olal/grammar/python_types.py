"""From Python types to grammars: the light face of `outlines_terms`, since outlines takes a second to import."""

from __future__ import annotations

from typing import Any

from olal.types import GrammarSpec


def type_grammar(python_type: Any) -> GrammarSpec:
    """Grammar of a Python type.

    Literal, Enum, bool, int, float, str, dict, pydantic model, dataclass, TypedDict, a function (of whose arguments it
    is the object), unions, lists and tuples of these, and every outlines term: Regex, CFG, JsonSchema, Choice, either,
    optional, ... The parts of a compound may be of different kinds.

    An object has the properties that its class names and no others, unless the class itself allows more. Text outside
    of an object, list, tuple or dict looks as Python writes it (`True`, `None`), inside of one as JSON does.

    Args:
        python_type: whatever outlines accepts as an output type.

    Raises:
        GrammarError: outlines does not know the type, or it has no text.
    """
    from olal.grammar.outlines_terms import grammar_of

    return grammar_of(python_type)


def argument_schema(python_type: Any) -> dict[str, Any]:
    """JSON Schema of the objects of a type; of a function, of its arguments by name.

    Raises:
        GrammarError: values of this type are no objects.
    """
    from olal.grammar.outlines_terms import schema_of

    return schema_of(python_type)
