"""Decisions in a JSON Schema: the paths of what is marked `"x-decision": true`, and the schema without the marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from olal.errors import GrammarError
from olal.grammar.schema_check import DECISION, map_subschemas, subschemas

_MOST_VISITS = 4  # of one reference on the way to a decision: a recursive schema has decisions without end
_SAME_PLACE = ("allOf", "anyOf", "oneOf")


def take_decisions(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The schema without marks, and the paths of what they marked.

    A path has a name per property and `*` per array index or per property without a name of its own, such as
    `steps.*.tool`; the whole value is the empty path. References are followed, a recursive one four times.

    Raises:
        GrammarError: a mark that is not a boolean, or a name on a decision's path that a path cannot hold.
    """
    paths: dict[str, None] = {}
    _find(schema, schema, (), {}, paths)
    return _unmarked(schema), tuple(paths)


def _unmarked(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    clean: dict[str, Any] = {k: v for k, v in cast("Mapping[str, Any]", schema).items() if k != DECISION}
    return map_subschemas(clean, _unmarked)


def _find(
    schema: Any, root: Mapping[str, Any], path: tuple[str, ...], visits: Mapping[str, int], paths: dict[str, None]
) -> None:
    if not isinstance(schema, Mapping):
        return
    schema = cast("Mapping[str, Any]", schema)
    mark = schema.get(DECISION, False)
    if not isinstance(mark, bool):
        raise GrammarError(f"{DECISION} must be true or false: {mark!r}")
    if mark:
        if any(not name or "." in name for name in path):
            raise GrammarError(f"a property on the path of a decision must have a name without dots: {list(path)}")
        paths[".".join(path)] = None
    reference = schema.get("$ref", "")
    if reference.startswith("#") and visits.get(reference, 0) < _MOST_VISITS:
        seen = {**visits, reference: visits.get(reference, 0) + 1}
        _find(_resolve(root, reference), root, path, seen, paths)
    for keys, inner in subschemas(schema):
        if keys[0] in _SAME_PLACE:
            _find(inner, root, path, visits, paths)
        elif keys[0] == "properties":
            _find(inner, root, (*path, keys[1]), visits, paths)
        elif keys[0] not in ("$defs", "definitions"):
            _find(inner, root, (*path, "*"), visits, paths)


def _resolve(root: Mapping[str, Any], reference: str) -> Any:
    """What a local reference points to; nothing where it does not, which the compiler tells."""
    found: Any = root
    for part in reference.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        inner = cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else dict(_numbered(found))
        if key not in inner:
            return None
        found = inner[key]
    return found


def _numbered(items: Any) -> Iterator[tuple[str, Any]]:
    return ((str(i), item) for i, item in enumerate(cast("list[Any]", items) if isinstance(items, list) else []))
