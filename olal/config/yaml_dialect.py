"""YAML as olal reads and writes it: the YAML 1.2 core scalars, and a repeated key is an error.

PyYAML follows YAML 1.1, where 1e-5 is a string, `no` is false, 12:30 is 750 and the last of two equal keys wins.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9][0-9_]*", list("-+0123456789")),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
}


class Yaml12Loader(yaml.SafeLoader):
    """Reads YAML 1.2 core scalars and refuses repeated keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, unless a key stands in it twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a decimal number; a leading zero means nothing."""
        return int(str(self.construct_scalar(node)).replace("_", ""))


class Yaml12Dumper(yaml.SafeDumper):
    """Writes scalars so that `Yaml12Loader` reads them back as they were."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


Yaml12Loader.add_constructor("tag:yaml.org,2002:int", Yaml12Loader.construct_yaml_int)
for _name, (_pattern, _first) in _SCALARS.items():
    for _dialect in (Yaml12Loader, Yaml12Dumper):
        _dialect.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
            f"tag:yaml.org,2002:{_name}", re.compile(rf"^(?:{_pattern})$"), _first
        )


def read_yaml(text: str) -> Any:
    """Parse one YAML document.

    Raises:
        yaml.YAMLError: it is not valid YAML.

    >>> read_yaml("{lr: 1e-5, answer: no, big: 1_000}")
    {'lr': 1e-05, 'answer': 'no', 'big': 1000}
    """
    return yaml.load(text, Loader=Yaml12Loader)


def write_yaml(value: Any) -> str:
    """Write plain data in block style, keys in the order given.

    >>> print(write_yaml({"lr": 1e-5, "text": "1e-5"}), end="")
    lr: 1.0e-05
    text: '1e-5'
    """
    return yaml.dump(value, Dumper=Yaml12Dumper, sort_keys=False, allow_unicode=True, width=120)
