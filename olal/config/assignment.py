"""parse_assignment: one `--set a.b=c` as a dotted key and a value."""

from __future__ import annotations

from typing import Any

import yaml

from olal.config.yaml_dialect import read_yaml
from olal.errors import ConfigError


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split at the first equals sign and read the right side as YAML.

    Raises:
        ConfigError: there is no key, no equals sign, or no valid value.

    >>> parse_assignment("learner.learning_rate=1e-3")
    ('learner.learning_rate', 0.001)
    >>> parse_assignment("env.options={size: 3}")
    ('env.options', {'size': 3})
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set takes key=value with a dotted key, such as learner.clip=0.1; got {text!r}")
    try:
        return key, read_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: the value must be YAML, such as 3, text or [1, 2]; got {value!r}") from error
