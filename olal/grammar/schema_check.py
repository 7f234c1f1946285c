"""What a JSON Schema may hold: every keyword is either enforced or refused with its path, never passed over.

The matcher's library ignores keywords that it does not know, so a misspelt bound would bind nothing; and it says why a
schema has no value, but not where. Paths are those of the schema, such as `$.properties.tags.uniqueItems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from olal.errors import GrammarError, UnsupportedSchema
from olal.grammar.grammar_text import make_spec
from olal.grammar.matcher import compile_problem

COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
DECISION = "x-decision"

# Enforced by llguidance 1.7.6 to 1.9.1; tests/grammar/test_schema_check.py holds these lists to the library.
ENFORCED = frozenset(
    (
        "$ref",
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "required",
        "type",
    )
)
ANNOTATIONS = frozenset(
    (
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    )
)
_NAMED = ("properties", "patternProperties", "$defs", "definitions")
_LISTED = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = ("items", "additionalItems", "additionalProperties")
_NEEDED = ("allOf", "items", "prefixItems")
_UNSUPPORTED = ("Unimplemented keys", "Unknown format", "oneOf constraints")


def check_schema(schema: Mapping[str, Any]) -> None:
    """Refuse a schema that cannot be enforced, or under which nothing finite is valid.

    Raises:
        UnsupportedSchema: a keyword, format or `oneOf` that the matcher cannot enforce.
        GrammarError: a value of a keyword is wrong, or no value is valid under the schema.
    """
    _check_keywords(schema, "$")
    if problem := compile_problem(_text(schema)):
        path, problem = _locate(schema, problem)
        kind = UnsupportedSchema if problem.startswith(_UNSUPPORTED) else GrammarError
        raise kind(f"{path}: {problem}")
    if not _has_finite_value(schema):
        raise GrammarError("$: every value under this schema is infinite: what it requires requires itself again")


def map_subschemas(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The same schema with `change` applied to every schema that stands directly in it."""
    changed: dict[str, Any] = dict(schema)
    for keys, inner in subschemas(schema):
        if len(keys) == 1:
            changed[keys[0]] = change(inner)
        elif isinstance(changed[keys[0]], list):
            changed[keys[0]] = [change(item) for item in schema[keys[0]]]
        else:
            changed[keys[0]] = {**changed[keys[0]], keys[1]: change(inner)}
    return changed


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The schemas directly within a schema, each with the keys that lead to it."""
    for key in _NAMED:
        if isinstance(schema.get(key), Mapping):
            yield from (((key, name), inner) for name, inner in schema[key].items())
    for key in _LISTED:
        if isinstance(schema.get(key), list):
            yield from (((key, str(i)), inner) for i, inner in enumerate(schema[key]))
    for key in _SINGLE:
        if isinstance(schema.get(key), Mapping | bool):
            yield (key,), schema[key]


def _check_keywords(schema: Any, path: str) -> None:
    if not isinstance(schema, Mapping):
        return
    schema = cast("Mapping[str, Any]", schema)
    for key, value in schema.items():
        if key in ENFORCED:
            if key.startswith("exclusive") and isinstance(value, bool):
                raise UnsupportedSchema(f"{path}.{key}: must be a number, as since draft 6: {value}")
        elif key not in ANNOTATIONS and not str(key).startswith("x-"):
            raise UnsupportedSchema(
                f"{path}.{key}: this keyword is not supported; enforced are {', '.join(sorted(ENFORCED))}; "
                f"a keyword of your own must begin with x-: {key!r}"
            )
    _check_least_properties(schema, path)
    for keys, inner in subschemas(schema):
        _check_keywords(inner, ".".join((path, *keys)))


def _check_least_properties(schema: Mapping[str, Any], path: str) -> None:
    """Refuse a least number of properties that two of the same free name would seem to reach."""
    least, names = schema.get("minProperties", 0), schema.get("required", ())
    is_open = schema.get("additionalProperties", True) is not False or bool(schema.get("patternProperties"))
    if isinstance(least, int) and is_open and least > len(names) + 1:
        raise UnsupportedSchema(
            f"{path}.minProperties: must be at most one more than the required properties where others have free "
            f"names, since nothing keeps these from being the same twice: {least}"
        )


def _text(schema: Any) -> str:
    return make_spec([{"name": "json", "json_schema": {**schema, "x-guidance": COMPACT}}]).text


def _locate(root: Mapping[str, Any], problem: str) -> tuple[str, str]:
    """The innermost schema that by itself has no value, as a path, and what is wrong with it."""
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    path, schema = "$", root
    while True:
        for keys, inner in subschemas(schema):
            if keys[0] in shared or not isinstance(inner, Mapping):
                continue
            inner_problem = compile_problem(_text({**shared, **inner}))
            is_needed = keys[0] in _NEEDED or keys[-1] in schema.get("required", ())
            if inner_problem and (is_needed or inner_problem == problem):
                path, schema, problem = ".".join((path, *keys)), cast("Mapping[str, Any]", inner), inner_problem
                break
        else:
            return path, problem


def _has_finite_value(root: Mapping[str, Any]) -> bool:
    """Whether some value is finite; the least set of references that have one is grown until it stays."""
    targets = {"#": root, **_targets(root, "#")}
    finite: set[str] = set()
    while grown := {name for name, inner in targets.items() if name not in finite and _is_finite(inner, finite)}:
        finite |= grown
    return "#" in finite


def _targets(schema: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    """All schemas within a schema by the reference that leads to them."""
    found: dict[str, Any] = {}
    for keys, inner in subschemas(schema):
        name = "/".join((pointer, *(key.replace("~", "~0").replace("/", "~1") for key in keys)))
        found[name] = inner
        if isinstance(inner, Mapping):
            found |= _targets(cast("Mapping[str, Any]", inner), name)
    return found


def _is_finite(schema: Any, finite: set[str]) -> bool:
    """Whether the schema has a finite value, given the references known to."""
    if not isinstance(schema, Mapping):
        return schema is not False
    schema = cast("Mapping[str, Any]", schema)
    reference = schema.get("$ref", "")
    if reference.startswith(("#/", "#")) and (reference == "#" or reference[1] == "/") and reference not in finite:
        return False
    if not all(_is_finite(inner, finite) for inner in schema.get("allOf", ())):
        return False
    for key in ("anyOf", "oneOf"):
        if key in schema and not any(_is_finite(inner, finite) for inner in schema[key]):
            return False
    if "enum" in schema or "const" in schema:
        return True
    types = schema.get("type", ())
    if types in ("object", ["object"]):
        properties = schema.get("properties", {})
        return all(_is_finite(properties.get(name, True), finite) for name in schema.get("required", ()))
    if types in ("array", ["array"]):
        items: Any = schema.get("items", True)
        first = cast("list[Any]", items if isinstance(items, list) else schema.get("prefixItems", []))
        rest = schema.get("additionalItems", True) if isinstance(items, list) else items
        least = schema.get("minItems", 0)
        return all(_is_finite(inner, finite) for inner in [*first, rest][:least])
    return True
