"""Codec: how the values of one action space are written as JSON text, and the escape its patterns need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SPECIAL = frozenset("\\.+*?()|[]{}^$#&-~/")


@dataclass(frozen=True, slots=True)
class Codec:
    """How the values of one space are written.

    Attributes:
        pattern: regular expression of exactly the JSON texts of the space.
        read: turns a parsed JSON value into a value the space contains.
        write: turns a value of the space into its one text; raises GrammarError on others.
    """

    pattern: str
    read: Callable[[Any], Any]
    write: Callable[[Any], str]


def literal(text: str) -> str:
    r"""Escape a text for a pattern, inside or outside of brackets.

    >>> literal("a.b-c")
    'a\\.b\\-c'
    """
    return "".join("\\" + character if character in SPECIAL else character for character in text)
