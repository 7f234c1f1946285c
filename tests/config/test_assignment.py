"""parse_assignment: the right side is YAML 1.2."""

from __future__ import annotations

import pytest

from olal.config import parse_assignment
from olal.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=3", ("a.b", 3)),
        ("lr=1e-5", ("lr", 1e-5)),
        ("lr=-1E+3", ("lr", -1000.0)),
        ("seed=1_000", ("seed", 1000)),
        ("seed=010", ("seed", 10)),
        ("flag=true", ("flag", True)),
        ("word=no", ("word", "no")),
        ("time=12:30", ("time", "12:30")),
        ("day=2024-01-02", ("day", "2024-01-02")),
        ("name=a=b", ("name", "a=b")),
        ("limit=null", ("limit", None)),
        ("names=[up, down]", ("names", ["up", "down"])),
        ("options={size: 3}", ("options", {"size": 3})),
    ],
)
def test_value_is_read_as_yaml(text, expected):
    key, value = parse_assignment(text)
    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("text", ["seed", "=3", "a..b=3", ".a=3", "options={size: 3"])
def test_what_is_no_assignment_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match="--set") as caught:
        parse_assignment(text)
    assert "\n" not in str(caught.value)
