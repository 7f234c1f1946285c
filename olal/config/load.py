"""load_config and to_yaml: files and settings in, one validated RunConfig out, and back to text.

    defaults  <  files, left to right  <  overrides (named flags, then --set)

Every layer is checked only in the end, so a file may set half of what another completes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import ValidationError

from olal.config.explain import explain
from olal.config.layers import nest, overlay
from olal.config.run_config import RunConfig
from olal.config.yaml_dialect import read_yaml, write_yaml
from olal.errors import ConfigError


def load_config(paths: Sequence[Path] = (), overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Lay files and overrides over the defaults.

    All overrides form one layer, so `learner.kind` and the settings of the new learner may come in any order.

    Args:
        paths: YAML files; a later one wins.
        overrides: dotted key to value; a later one wins.

    Raises:
        ConfigError: a file cannot be read, a key does not exist or a value is not allowed.

    >>> load_config(overrides={"learner.kind": "mezo", "learner.sigma": 0.1}).learner.sigma
    0.1
    """
    defaults = RunConfig()
    data: dict[str, Any] = {"learner": {"kind": defaults.learner.kind}, "env": {"id": defaults.env.id}}
    for path in paths:
        data = overlay(data, _read_layer(Path(path)))
    data = overlay(data, nest(overrides or {}))
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain(error, data, RunConfig)) from error


def to_yaml(config: RunConfig) -> str:
    """Write every field, defaults too, so that a later default changes nothing."""
    return write_yaml(config.model_dump(mode="json"))


def _read_layer(path: Path) -> dict[str, Any]:
    try:
        layer = read_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"no such config file: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"a config file must be readable text ({error}): {path}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"a config file must be valid YAML: {_describe(error, path)}") from error
    if layer is None:
        return {}
    kind = type(layer).__name__
    sections = cast("dict[Any, Any]", layer) if isinstance(layer, dict) else None
    if sections is None or not all(isinstance(key, str) for key in sections):
        raise ConfigError(f"a config file must be a mapping of sections; got a {kind}: {path}")
    return {section: value for section, value in sections.items() if value is not None}  # empty sets nothing


def _describe(error: yaml.YAMLError, path: Path) -> str:
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path}: {' '.join(str(error).split())}"
    return f"{path}:{error.problem_mark.line + 1}: {error.problem}"
