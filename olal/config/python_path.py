"""python_path: settings that name a class of the user's, as `python:package.module:Class`."""

from __future__ import annotations

import re


def python_path(value: str, *builtin: str) -> str:
    """Check the form of such a setting; the class itself is looked for when it is needed.

    Args:
        value: the setting.
        builtin: names that need no class.

    Raises:
        ValueError: it is neither; the message is the end of a sentence.

    >>> python_path("python:my.critics:Deep", "head")
    'python:my.critics:Deep'
    """
    if value in builtin or re.fullmatch(r"python:[\w.]+:\w+", value):
        return value
    raise ValueError(" or ".join([*builtin, "python:package.module:Class"]))
