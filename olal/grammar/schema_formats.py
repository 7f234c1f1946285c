"""Formats as their readers take them: the library's dates include the 29th of February of every year.

A text that the schema's own format admits must also be one that Python's `datetime`, and so pydantic, reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from olal.grammar.schema_check import map_subschemas

_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
_YEAR = "([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"  # from 0001 to 9999
_MONTH_DAY = "((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
_DATE = f"({_YEAR}-{_MONTH_DAY}|{_LEAP}-02-29)"
_TIME = "[0-9]{2}:[0-9]{2}:[0-5][0-9].*"  # no leap second
_PATTERNS = {"date": f"^{_DATE}$", "date-time": f"^{_DATE}[Tt]{_TIME}$", "time": f"^{_TIME}$"}


def with_exact_formats(schema: Any) -> Any:
    """The same JSON Schema, in which dates and times are also held to a pattern."""
    if not isinstance(schema, Mapping):
        return schema
    exact = map_subschemas(cast("Mapping[str, Any]", schema), with_exact_formats)
    pattern = _PATTERNS.get(exact.get("format", ""))
    if pattern is not None:
        exact["allOf"] = [*exact.get("allOf", ()), {"pattern": pattern}]
    return exact
