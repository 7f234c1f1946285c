"""Tools: a grammar of calls, from functions, models or schemas, and the reader of the calls it admits."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from olal.errors import GrammarError
from olal.grammar.build import json_grammar
from olal.grammar.grammar_text import make_spec, members_of
from olal.grammar.matcher import compile_problem
from olal.grammar.python_types import argument_schema
from olal.types import GrammarSpec

Tool = Callable[..., Any] | type | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call, as a model wrote it.

    Attributes:
        name: of the tool.
        arguments: by name.
    """

    name: str
    arguments: dict[str, Any]


def tool_grammar(tools: Sequence[Tool], *, parallel: bool = False, max_calls: int = 8) -> GrammarSpec:
    """Grammar of one call of one of several tools, or of an array of calls.

    A call is `{"name":"move","arguments":{"steps":2}}`, without whitespace.

    Args:
        tools: functions, whose annotated parameters are the arguments (those with a default may be left out); pydantic
            models, dataclasses or TypedDicts, named after their class; or mappings with `name` and `parameters`, a
            JSON Schema of an object.
        parallel: whether to write an array of 1 to `max_calls` calls.
        max_calls: most calls of an array.

    Raises:
        GrammarError: no tool, two of one name, a parameter without annotation, or a schema that admits no object.
    """
    if max_calls < 1:
        raise GrammarError(f"max_calls must be at least 1: {max_calls}")
    signatures = [_signature(tool) for tool in tools]
    names = [name for name, _ in signatures]
    if not names or len(set(names)) != len(names):
        raise GrammarError(f"a tool grammar needs at least one tool, each of another name: {names}")
    calls: list[str] = []
    members: list[Mapping[str, Any]] = []
    decisions: list[str] = []
    for i, (name, schema) in enumerate(signatures):
        arguments = _arguments_grammar(name, schema)
        opening = f'{{"name":{json.dumps(name, ensure_ascii=False)},"arguments":'
        calls.append(f'{json.dumps(opening)} @tool{i} "}}"')
        members.extend(members_of(arguments, f"tool{i}"))
        decisions.extend(f"{'*.' if parallel else ''}arguments.{path}" for path in arguments.decisions)
    call = "call: " + " | ".join(calls)
    more = f' ("," call){{0,{max_calls - 1}}}' if max_calls > 1 else ""
    start = f'start: "[" call{more} "]"' if parallel else "start: call"
    spec = make_spec([{"name": "tools", "lark_grammar": f"{start}\n{call}"}, *members], decisions)
    if problem := compile_problem(spec.text):
        raise GrammarError(f"the tools' grammar does not compile ({problem}): {names}")
    return spec


def parse_tool_calls(text: str) -> list[ToolCall]:
    """The calls that a sentence of a tool grammar holds: one, or those of an array.

    Raises:
        GrammarError: the text is neither a call nor a non-empty array of calls.
    """
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise GrammarError(f"a tool call must be JSON ({error}): {text[:200]!r}") from error
    calls = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not calls:
        raise GrammarError("an array of tool calls must hold at least one: []")
    return [_call(call) for call in calls]


def _call(value: Any) -> ToolCall:
    if not isinstance(value, dict) or set(cast("dict[str, Any]", value)) != {"name", "arguments"}:
        raise GrammarError(f'a tool call must have the keys "name" and "arguments" and no other: {value!r}')
    name, arguments = cast("dict[str, Any]", value)["name"], cast("dict[str, Any]", value)["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise GrammarError(f"a tool call must have a text as its name and an object as its arguments: {value!r}")
    return ToolCall(name, cast("dict[str, Any]", arguments))


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"a key stands twice in {[key for key, _ in pairs]}")
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON value")


def _signature(tool: Tool) -> tuple[str, Mapping[str, Any]]:
    """Name and argument schema of a tool."""
    if isinstance(tool, Mapping):
        tool = cast("Mapping[str, Any]", tool)
        name, schema = tool.get("name"), tool.get("parameters")
        if not isinstance(name, str) or not name or not isinstance(schema, Mapping):
            raise GrammarError(
                f'a tool given as a mapping needs "name" and "parameters", a JSON Schema: {dict(tool)!r}'
            )
        return name, cast("Mapping[str, Any]", schema)
    name = getattr(tool, "__name__", "")
    if not name:
        raise GrammarError(f"a tool must be a function, a class or a mapping: {tool!r}")
    return name, argument_schema(tool)


def _arguments_grammar(name: str, schema: Mapping[str, Any]) -> GrammarSpec:
    if schema.get("type", "object") != "object":
        raise GrammarError(f"the arguments of the tool {name} must be an object: {schema['type']!r}")
    try:
        return json_grammar({**schema, "type": "object"})
    except GrammarError as error:
        raise type(error)(f"tool {name}: {error}") from error
