"""The keys a config may have, and the nearest of them to one it may not."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import get_args

from pydantic import BaseModel

from olal.config.layers import SELECTORS


def known_keys(model: type[BaseModel]) -> dict[str, list[str]]:
    """Every dotted key of a model and its sections, with the variants of a union that have it.

    Returns:
        Key to the names of its variants; an empty list where the key stands in no union.

    >>> from olal.config.run_config import RunConfig
    >>> keys = known_keys(RunConfig)
    >>> keys["learner.clip"][:2], keys["learner.directions"], keys["rollout.workers"]
    (['ppo', 'mezo'], ['mezo', 'es'], [])
    """
    keys: dict[str, list[str]] = {}
    for key, variant in _walk(model):
        keys.setdefault(key, []).extend([variant] if variant else [])
    return keys


def explain_unknown(path: Sequence[str], model: type[BaseModel], variant: str | None) -> str:
    """Say that a key does not exist and which one was probably meant.

    Args:
        path: the parts of the unknown key.
        model: the root model.
        variant: kind of the union the key stands in, if it stands in one.

    Returns:
        One line.
    """
    keys = known_keys(model)
    shown, dotted = ".".join(path), ".".join(part for part in path if not part.isdigit())  # a list's items share keys
    if dotted in keys and variant is not None:
        selector = f"{shown.rpartition('.')[0]}.{SELECTORS.get(path[0], 'kind')}"
        return f"{shown}: no such key with {selector}={variant}; it belongs to {selector}={' or '.join(keys[dotted])}"
    open_keys = [key for key, variants in keys.items() if not variants or variant is None or variant in variants]
    nearest = _nearest(dotted, open_keys)
    if nearest is not None:
        return f"{shown}: no such key; did you mean {nearest}?"
    prefix = dotted.rpartition(".")[0]
    siblings = [key for key in open_keys if key.rpartition(".")[0] == prefix]
    return f"{shown}: no such key; allowed are {', '.join(siblings)}"


def _nearest(dotted: str, keys: Sequence[str]) -> str | None:
    prefix, _, name = dotted.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in keys if key.rpartition(".")[0] == prefix}
    beside = [siblings[match] for match in difflib.get_close_matches(name, siblings, n=1, cutoff=0.7)]
    elsewhere = [key for key in keys if key.rpartition(".")[2] == name]
    similar = [] if prefix in keys else difflib.get_close_matches(dotted, keys, n=1, cutoff=0.7)
    return next(iter([*beside, *elsewhere, *similar]), None)


def _walk(model: type[BaseModel], prefix: str = "", variant: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        yield key, variant
        for section in _sections(field.annotation):
            kind = str(section.model_fields["kind"].default) if field.discriminator == "kind" else variant
            yield from _walk(section, f"{key}.", kind)


def _sections(annotation: object) -> list[type[BaseModel]]:
    options = get_args(annotation) or (annotation,)
    return [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
