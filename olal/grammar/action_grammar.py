"""ActionGrammar: the legal actions of one state, as a grammar and as the parser that reads them back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from olal.types import GrammarSpec


@dataclass(frozen=True, slots=True)
class ActionGrammar:
    """What may be said and how it is read.

    Attributes:
        spec: grammar of the action texts.
        parse: turns any text of that grammar into the environment's action; raises GrammarError on others.
        write: the inverse of parse: one text of the grammar for an action.
    """

    spec: GrammarSpec
    parse: Callable[[str], Any]
    write: Callable[[Any], str]
