"""From a gymnasium action space to an ActionGrammar: every text of it is an action the space contains."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from gymnasium import spaces

from olal.envs.space_codecs import Names, discrete_names, make_codec
from olal.errors import ActionSpaceUnsupported, GrammarError
from olal.grammar.action_grammar import ActionGrammar
from olal.grammar.build import choice_grammar, regex_grammar


def space_grammar(space: spaces.Space[Any], names: Names | None = None, digits: int = 2) -> ActionGrammar:
    """Grammar, reader and writer of a space.

    A Discrete action is written bare, by name or number; all others are JSON without whitespace. Every action has one
    text. Floating-point numbers have exactly `digits` decimals; `write` rounds to the nearest that is within bounds.

    Args:
        space: Discrete, MultiDiscrete, MultiBinary, bounded Box, Text, or a Tuple or Dict of these.
        names: action names; a list for Discrete, and for Tuple and Dict one entry per part (None for numbers).
        digits: decimals of floating-point numbers, 0 to 9.

    Raises:
        ActionSpaceUnsupported: the space has no finite grammar, or the names do not fit it.
    """
    if not 0 <= digits <= 9:
        raise ActionSpaceUnsupported(f"digits must be from 0 to 9, not {digits}")
    if isinstance(space, spaces.Discrete) and names is not None:
        return discrete_grammar(space, names)
    codec = make_codec(space, names, digits)
    pattern = re.compile(codec.pattern)

    def parse(text: str) -> Any:
        if not pattern.fullmatch(text):
            raise GrammarError(f"the text is no action of {space}: {text!r}")
        return codec.read(json.loads(text))

    return ActionGrammar(regex_grammar(codec.pattern), parse, codec.write)


def discrete_grammar(
    space: spaces.Discrete, names: Names | None = None, allowed: Sequence[int] | None = None
) -> ActionGrammar:
    """Grammar of the actions of a Discrete space that are allowed now.

    Args:
        space: the space.
        names: one name per action; None writes numbers.
        allowed: indices counted from 0, at least one; None allows all.

    Raises:
        ActionSpaceUnsupported: the names do not fit the space, or nothing is allowed.
    """
    start, count = int(space.start), int(space.n)
    indices = range(count) if allowed is None else allowed
    if len(indices) == 0:
        raise ActionSpaceUnsupported(f"action: a state in which no action of {space} is allowed has no grammar")
    texts = [str(start + i) for i in range(count)] if names is None else discrete_names(space, names, "action")
    to_action = {texts[i]: start + i for i in indices}
    to_text = {action: text for text, action in to_action.items()}

    def parse(text: str) -> int:
        if text not in to_action:
            raise GrammarError(f"an action is one of {', '.join(to_action)}, not {text!r}")
        return to_action[text]

    def write(action: Any) -> str:
        is_member = not isinstance(action, bool) and space.contains(action)
        if not is_member or int(action) not in to_text:
            raise GrammarError(f"an action is one of {list(to_text)}, not {action!r}")
        return to_text[int(action)]

    return ActionGrammar(choice_grammar(list(to_action)), parse, write)
