"""explain: what pydantic found wrong with a config, as one line that names the key and what it may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from olal.config.keys import explain_unknown
from olal.config.layers import SELECTORS

_ALLOWED: Mapping[str, str] = {
    "bool": "true or false",
    "dict": "a mapping of settings",
    "finite": "a finite number",
    "float": "a number",
    "int": "a whole number",
    "json": "plain data: text, numbers, true, false, null, lists and mappings with text keys",
    "list": "a list",
    "model": "a mapping of settings",
    "string": "text",
}


def explain(error: ValidationError, data: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Put the first fault into one line: unknown keys before values, since they explain most other faults.

    Args:
        error: what pydantic raised.
        data: the layers merged into one, which is what it read.
        model: the root model.

    Returns:
        `path: no such key; did you mean ...?` or `path must be ...; got VALUE`.
    """
    details = error.errors(include_url=False)
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    path = _path(first["loc"], data)
    if first["type"] == "extra_forbidden":
        return explain_unknown([str(part) for part in path], model, _variant(path, data))
    if first["type"] in {"union_tag_invalid", "union_tag_not_found"}:
        tags = first.get("ctx", {}).get("expected_tags", "").replace(", ", " or ").replace("'", "")
        selector = SELECTORS.get(str(path[0]), "kind")
        section = first["input"]
        value = cast("Mapping[str, Any]", section).get(selector) if isinstance(section, Mapping) else section
        return f"{_dotted(path)}.{selector} must be {tags}; got {value!r}"
    if first["type"] == "missing":
        return f"{_dotted([*path, first['loc'][-1]])} is missing"
    paths = [_path(detail["loc"], data) for detail in details]
    if first["type"] == "value_error" and first["loc"][-1:] != tuple(path[-1:]):
        path = paths[details.index(first)] = [*path, first["loc"][-1]]  # a default that contradicts another setting
    path = max((deeper for deeper in paths if deeper[: len(path)] == path), key=len)
    same_place = [detail for detail, place in zip(details, paths, strict=True) if place == path]
    allowed = list(dict.fromkeys(_allowed(detail) for detail in same_place))
    return f"{_dotted(path)} must be {' or '.join(allowed)}; got {same_place[0]['input']!r}"


def _path(loc: Sequence[str | int], data: Any) -> list[str | int]:
    """Keep the parts of a location that lead through the data; the others are names of union members."""
    path: list[str | int] = []
    for part in loc:
        steps: Any = dict(enumerate(cast("list[Any]", data))) if isinstance(data, list) else data
        if isinstance(steps, Mapping) and part in steps:
            data = cast("Mapping[str | int, Any]", steps)[part]
            path.append(part)
    return path


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path)


def _variant(path: Sequence[str | int], data: Mapping[str, Any]) -> str | None:
    """Kind of the section that a key stands in, if that has kinds."""
    section: Any = data
    for part in path[:-1]:
        section = section[part]
    kind = cast("Mapping[str, Any]", section).get("kind") if isinstance(section, Mapping) else None
    return None if kind is None else str(kind)


def _allowed(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return f"at least {context['ge']:g}"
        case "greater_than":
            return f"above {context['gt']:g}"
        case "less_than_equal":
            return f"at most {context['le']:g}"
        case "less_than":
            return f"below {context['lt']:g}"
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "value_error":  # our own validators say what is allowed
            return str(context["error"])
        case "string_too_short" | "too_short":
            return "non-empty"
        case kind:
            family = "json" if "json" in detail["msg"].lower() else kind.split("_")[0]
            return _ALLOWED.get(family, detail["msg"][:1].lower() + detail["msg"][1:])
