"""Productive grammars: whether a grammar has a finite sentence at all, read off its rules.

`start: "a" start` never ends, and a search over tokens may not say so however long it runs. A rule is productive if one
of its alternatives is made of terminals and productive rules only; Hopcroft and Ullman, Introduction to Automata
Theory, Languages and Computation, 4.4.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

from olal.types import GrammarSpec

# A head such as `call[capture]: `, which begins a rule; or one word of a rule's right side.
_WORD = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|\#[^\n]*)
    |(?P<head>^[!?]*[a-zA-Z_][\w-]*(\[[^\]\n]*\])?(\.-?\d+)?[ \t]*:)
    |(?P<terminal>"(\\.|[^"\\])*"i?|/(\\.|[^/\\\n])+/[a-z]*|<[^>\n]*>|@[\w-]+|[A-Z_][A-Z0-9_]*)
    |(?P<rule>[a-z_][\w-]*)
    |(?P<repeat>[*+?]|\{\d*,?\d*\})
    |(?P<sign>[()|\[\]])""",
    re.VERBOSE | re.MULTILINE,
)


@lru_cache(maxsize=1024)
def is_productive(grammar: GrammarSpec) -> bool:
    """Whether some sentence of the grammar is finite.

    Only a grammar in plain Lark notation is ever found unproductive: one that holds what this reader does not know
    counts as productive, and so does every rule that is a grammar of its own.
    """
    try:
        text = json.loads(grammar.text)["grammars"][0]["lark_grammar"]
    except (ValueError, TypeError, LookupError):
        return True
    rules = _rules(text)
    if rules is None or "start" not in rules:
        return True
    productive: set[str] = set()
    while grown := {name for name, words in rules.items() if name not in productive and _derives(words, productive)}:
        productive |= grown
    return "start" in productive


def _rules(text: str) -> dict[str, list[str]] | None:
    """The right side of every rule as words; None where the text holds what this reader does not know."""
    rules: dict[str, list[str]] = {}
    words: list[str] = []
    place = 0
    while place < len(text):
        match = _WORD.match(text, place)
        if match is None:
            return None
        place = match.end()
        if match["head"]:
            name = re.match(r"[!?]*([\w-]+)", match["head"])
            words = rules.setdefault(name[1] if name else "", [])
            words.extend(["|"] if words else [])
        elif match["terminal"]:
            words.append('"')
        elif match["skip"] is None:
            words.append(match[0])
    return rules


def _derives(words: list[str], productive: set[str]) -> bool:
    """Whether the right side of a rule derives a finite text, given the rules known to."""
    stack = [(False, True)]  # of each open bracket: whether an alternative before derives, whether this one does so far
    before = last = True  # what this one did before its last part, and what that part does
    for word in words:
        some, this = stack[-1]
        if word in ("(", "["):
            stack.append((False, True))
        elif word == "|":
            stack[-1] = (some or this, True)
        elif word in (")", "]"):
            stack.pop()
            before, last = stack[-1][1], some or this or word == "]"
            stack[-1] = (stack[-1][0], before and last)
        elif word in ("*", "?") or word.startswith(("{0", "{,")):
            stack[-1] = (some, before)
        elif word != "+" and not word.startswith("{"):
            before, last = this, word == '"' or word in productive
            stack[-1] = (some, before and last)
    return any(stack[-1])
