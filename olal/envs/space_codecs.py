"""Codecs of gymnasium spaces, one small function per kind; `spaces.py` makes grammars of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from gymnasium import spaces

from olal.envs.array_codecs import array_codec, box_codec
from olal.envs.codec import Codec, literal
from olal.envs.number_patterns import decimal_pattern
from olal.errors import ActionSpaceUnsupported, GrammarError

Names: TypeAlias = "Sequence[str] | Sequence[Names | None] | Mapping[str, Names | None]"
"""Action names in the shape of the space: a list for Discrete, one entry per part for Tuple and Dict."""


def make_codec(space: spaces.Space[Any], names: Names | None, digits: int, path: str = "action") -> Codec:
    """The codec of any supported space.

    Args:
        space: the space.
        names: names of its Discrete parts, in the shape of the space; None writes numbers.
        digits: decimals of floating-point numbers.
        path: where the space sits in the whole action, for messages.

    Raises:
        ActionSpaceUnsupported: the space has no finite grammar, or the names do not fit it.
    """
    for kind, make in _CODECS.items():
        if isinstance(space, kind):
            if names is not None and kind not in _NAMED:
                raise ActionSpaceUnsupported(f"{path}: only Discrete spaces take names, not {space}")
            return make(space, names, digits, path)
    raise ActionSpaceUnsupported(
        f"{path}: a {type(space).__name__} space has no grammar; wrap the environment so that its actions are "
        f"{', '.join(kind.__name__ for kind in _CODECS)}, not {space}"
    )


def discrete_names(space: spaces.Discrete, names: Names, path: str) -> list[str]:
    """The names of a Discrete space, checked: one each, distinct and not empty.

    Raises:
        ActionSpaceUnsupported: they do not fit the space.
    """
    if isinstance(names, str | Mapping) or not all(isinstance(name, str) and name for name in names):
        raise ActionSpaceUnsupported(f"{path}: action names must be a list of texts, not {names!r}")
    texts = [str(name) for name in names]
    if len(texts) != space.n or len(set(texts)) != len(texts):
        raise ActionSpaceUnsupported(f"{path}: {space.n} actions need {space.n} distinct names, not {texts}")
    return texts


def _discrete_codec(space: spaces.Discrete, names: Names | None, digits: int, path: str) -> Codec:
    start, count = int(space.start), int(space.n)
    texts = None if names is None else [_quote(name) for name in discrete_names(space, names, path)]
    if texts is None:
        pattern = decimal_pattern(start, start + count - 1)
    else:
        pattern = f"(?:{'|'.join(literal(text) for text in texts)})"

    def read(value: Any) -> int:
        return int(value) if texts is None else start + texts.index(_quote(value))

    def write(action: Any) -> str:
        if isinstance(action, bool) or not space.contains(action):
            raise GrammarError(f"{path}: must be a whole number from {start} to {start + count - 1}, not {action!r}")
        return str(int(action)) if texts is None else texts[int(action) - start]

    return Codec(pattern, read, write)


def _multi_discrete_codec(space: spaces.MultiDiscrete, names: Names | None, digits: int, path: str) -> Codec:
    low: Any = space.start
    return array_codec(low, low + (space.nvec - 1), np.dtype(space.dtype), 0, path)


def _multi_binary_codec(space: spaces.MultiBinary, names: Names | None, digits: int, path: str) -> Codec:
    low = np.zeros(space.shape, np.int8)
    return array_codec(low, low + 1, np.dtype(np.int8), 0, path)


def _box_codec(space: spaces.Box[Any], names: Names | None, digits: int, path: str) -> Codec:
    return box_codec(space, digits, path)


def _text_codec(space: spaces.Text, names: Names | None, digits: int, path: str) -> Codec:
    forms = [_quote(character)[1:-1] for character in sorted(space.character_set)]
    choices = [literal(form) for form in forms if len(form) > 1]
    if plain := "".join(literal(form) for form in forms if len(form) == 1):
        choices.insert(0, f"[{plain}]")
    count = f"{{{space.min_length},{space.max_length}}}"
    repeated = f"(?:{'|'.join(choices)}){count}" if choices and space.max_length else ""

    def write(action: Any) -> str:
        if not space.contains(action):
            raise GrammarError(f"{path}: must be a text of {space}, not {action!r}")
        return _quote(action)

    return Codec(f'"{repeated}"', str, write)


def _tuple_codec(space: spaces.Tuple[Any], names: Names | None, digits: int, path: str) -> Codec:
    parts = space.spaces
    if names is not None and (isinstance(names, str | Mapping) or len(names) != len(parts)):
        raise ActionSpaceUnsupported(f"{path}: {len(parts)} parts need a list of {len(parts)} entries, not {names!r}")
    named: Sequence[Any] = [None] * len(parts) if names is None else names
    codecs = [make_codec(parts[i], named[i], digits, f"{path}[{i}]") for i in range(len(parts))]

    def read(value: Any) -> tuple[Any, ...]:
        return tuple(codec.read(item) for codec, item in zip(codecs, value, strict=True))

    def write(action: Any) -> str:
        items: list[Any] = list(cast(Any, action)) if isinstance(action, tuple | list | np.ndarray) else []
        if len(items) != len(codecs):
            raise GrammarError(f"{path}: must have {len(codecs)} parts, not {action!r}")
        return f"[{','.join(codec.write(item) for codec, item in zip(codecs, items, strict=True))}]"

    return Codec(rf"\[{','.join(codec.pattern for codec in codecs)}\]", read, write)


def _dict_codec(space: spaces.Dict[Any], names: Names | None, digits: int, path: str) -> Codec:
    parts: dict[Any, Any] = dict(space.spaces)
    if any(not isinstance(key, str) for key in parts):
        raise ActionSpaceUnsupported(f"{path}: the keys of a Dict space must be texts, not {list(parts)}")
    named: Mapping[str, Any] = names if isinstance(names, Mapping) else {}
    if (names is not None and not isinstance(names, Mapping)) or not set(named) <= set(parts):
        raise ActionSpaceUnsupported(f"{path}: names must be given by key, one of {list(parts)}, not {names!r}")
    codecs = {key: make_codec(part, named.get(key), digits, f'{path}["{key}"]') for key, part in parts.items()}

    def read(value: Any) -> dict[str, Any]:
        return {key: codec.read(value[key]) for key, codec in codecs.items()}

    def write(action: Any) -> str:
        if not isinstance(action, Mapping) or action.keys() != codecs.keys():
            raise GrammarError(f"{path}: must have the keys {list(codecs)}, not {action!r}")
        return "{" + ",".join(f"{_quote(key)}:{codec.write(action[key])}" for key, codec in codecs.items()) + "}"

    pattern = ",".join(f"{literal(_quote(key))}:{codec.pattern}" for key, codec in codecs.items())
    return Codec(rf"\{{{pattern}\}}", read, write)


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_CODECS: dict[type[Any], Callable[[Any, Names | None, int, str], Codec]] = {
    spaces.Discrete: _discrete_codec,
    spaces.MultiDiscrete: _multi_discrete_codec,
    spaces.MultiBinary: _multi_binary_codec,
    spaces.Box: _box_codec,
    spaces.Text: _text_codec,
    spaces.Tuple: _tuple_codec,
    spaces.Dict: _dict_codec,
}
_NAMED = (spaces.Discrete, spaces.Tuple, spaces.Dict)
