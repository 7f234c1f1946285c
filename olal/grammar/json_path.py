"""Where in a JSON text the next character lies: a tracker for completions that are written without whitespace.

It is asked before every token, so it moves on by what is new and keeps nothing but the open brackets. It trusts the
grammar that wrote the text, and so does not notice what is no JSON.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence

from olal.types import GrammarSpec

_ENDS_SCALAR = frozenset(",]}")
_LITERALS = ("true", "false", "null")
_ANY = "*"


class JsonPath:
    """The path at which the next character of a growing JSON text lies.

    A path names a property, or an index by its number, for each open bracket: in `{"steps":[{"tool":"a"},{"tool":` the
    next character belongs to the value at `("steps", 1, "tool")`. What is written around values (brackets, keys,
    colons, commas) belongs to none.
    """

    def __init__(self) -> None:
        """Stand before the first character."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._path: list[str | int] = []
        self._is_array: list[bool] = []
        self._state = "value"  # or key, string, escape, scalar, colon, after
        self._is_key = False
        self._key: list[str] = []

    @property
    def path(self) -> tuple[str | int, ...]:
        """Names and indices that lead to where the next character lies, the innermost open bracket's last."""
        return tuple(self._path)

    @property
    def is_value(self) -> bool:
        """Whether the next character begins or continues the value at `path`, and not what stands around values.

        After a number's digits it does, although a comma may follow: only the next character tells.
        """
        return self._state in ("value", "scalar") or (self._state in ("string", "escape") and not self._is_key)

    def advance(self, text: str | bytes) -> None:
        """Move over the next piece of the text; bytes may end within a character."""
        for character in self._decoder.decode(text) if isinstance(text, bytes) else text:
            self._step(character)

    def matches(self, patterns: Sequence[Sequence[str]]) -> bool:
        """Whether the next character belongs to the value at one of these paths, an object's own keys included.

        Args:
            patterns: paths by their parts; `*` stands for any index or name.
        """
        depth = len(self._path)
        for pattern in patterns:
            if (len(pattern) < depth or (len(pattern) == depth and self.is_value)) and all(
                part in (_ANY, name) for part, name in zip(pattern, self._path, strict=False)
            ):
                return True
        return False

    def _step(self, character: str) -> None:
        if self._state == "string":
            self._in_string(character)
        elif self._state == "escape":
            self._key.append(character)
            self._state = "string"
        elif self._state == "scalar" and character not in _ENDS_SCALAR:
            self._key.append(character)
            self._state = "after" if "".join(self._key) in _LITERALS else "scalar"
        elif self._state == "value" and character not in "]":
            self._begin(character)
        elif character == '"':
            self._state, self._is_key, self._key = "string", True, []
        elif character == ":":
            self._state = "value"
        elif character == "," and self._path:
            self._next()
        elif character in "]}" and self._path:
            self._close()

    def _in_string(self, character: str) -> None:
        if character == "\\":
            self._key.append(character)
            self._state = "escape"
        elif character != '"':
            self._key.append(character)
        elif self._is_key:
            self._path[-1] = json.loads(f'"{"".join(self._key)}"', strict=False)
            self._state = "colon"
        else:
            self._state = "after"

    def _begin(self, character: str) -> None:
        """The first character of a value."""
        if character in "[{":
            self._is_array.append(character == "[")
            self._path.append(0 if character == "[" else "")
            self._state = "value" if character == "[" else "key"
        elif character == '"':
            self._state, self._is_key, self._key = "string", False, []
        else:
            self._state, self._key = "scalar", [character]

    def _next(self) -> None:
        """A comma: on to the next item or property."""
        last = self._path[-1]
        if isinstance(last, int) and self._is_array[-1]:
            self._path[-1] = last + 1
            self._state = "value"
        else:
            self._path[-1] = ""
            self._state = "key"

    def _close(self) -> None:
        self._is_array.pop()
        self._path.pop()
        self._state = "after"


class DecisionTracker:
    """Says before each token of a completion whether it belongs to a value that its grammar marks as a decision."""

    def __init__(self, spec: GrammarSpec) -> None:
        """Stand before the first token.

        Args:
            spec: a JSON grammar; one without marks has no decisions.
        """
        self._patterns = [path.split(".") if path else [] for path in spec.decisions]
        self._json = JsonPath()

    @property
    def is_decision(self) -> bool:
        """Whether the next character belongs to the value of a marked field."""
        return bool(self._patterns) and self._json.matches(self._patterns)

    def advance(self, text: str | bytes) -> None:
        """Move over the next piece of the completion."""
        if self._patterns:
            self._json.advance(text)


def is_decision(spec: GrammarSpec, text: str | bytes) -> bool:
    """Whether the character after a partial completion belongs to the value of a field marked as a decision.

    Args:
        spec: a JSON grammar.
        text: the completion so far.
    """
    tracker = DecisionTracker(spec)
    tracker.advance(text)
    return tracker.is_decision
