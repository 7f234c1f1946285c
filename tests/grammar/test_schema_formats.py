"""Pinned: a date or time is held to its pattern once, wherever in the schema it stands."""

from __future__ import annotations

import json

from olal.grammar.schema_formats import with_exact_formats


def test_each_format_gets_one_pattern_however_many_schemas_stand_beside_it() -> None:
    moments = [{"format": "date"}, {"type": "null"}, {"format": "time"}]
    schema = {"anyOf": moments, "properties": {"at": {"anyOf": moments}}, "items": {"format": "date-time"}}

    exact = with_exact_formats(schema)

    assert json.dumps(exact).count('"pattern"') == 5
    assert schema["anyOf"][0] == {"format": "date"}
