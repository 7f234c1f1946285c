"""load_class: a class of the user's by the path in a setting, with one-line errors that say how to mend them."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from olal.errors import ConfigError

Base = TypeVar("Base")


def load_class(path: str, base: type[Base], setting: str) -> type[Base]:
    """Import the class at `python:package.module:Class`.

    Args:
        path: as in the config.
        base: what it must be derived from.
        setting: key of the config, for the message.

    Raises:
        ConfigError: there is no such class, or it is derived from something else.
    """
    _, module_name, name = path.split(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{setting}: cannot import {module_name} ({error}); put the folder that holds it on PYTHONPATH"
        ) from error
    found: Any = getattr(module, name, None)
    if found is None:
        close = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{setting}: {module_name} has no {name!r}{hint}")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f"{setting} must be a class derived from {base.__module__}.{base.__name__}; got {found!r}")
    if inspect.isabstract(found):
        missing = ", ".join(sorted(getattr(found, "__abstractmethods__", ())))
        raise ConfigError(f"{setting}: {name} must define {missing}")
    return found


def check_options(options: Mapping[str, Any], allowed: Mapping[str, Any], setting: str) -> None:
    """Refuse options that a class does not take.

    Raises:
        ConfigError: one of them is unknown.
    """
    for option in options:
        if option not in allowed:
            close = difflib.get_close_matches(option, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"allowed are {', '.join(allowed) or 'none'}"
            raise ConfigError(f"{setting}.{option}: no such option; {hint}")
