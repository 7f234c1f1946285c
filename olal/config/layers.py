"""Layers of a config: plain nested mappings laid over one another, the upper one winning key by key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

SELECTORS: Mapping[str, str] = {"learner": "kind", "env": "id"}
"""Section to the key that says what its other keys mean."""


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into one nested layer; of two settings of one key the later wins.

    >>> nest({"learner.kind": "mezo", "learner.sigma": 0.1, "seed": 3})
    {'learner': {'kind': 'mezo', 'sigma': 0.1}, 'seed': 3}
    """
    layer: dict[str, Any] = {}
    for dotted, value in overrides.items():
        nested = value
        for part in reversed(dotted.split(".")):
            nested = {part: nested}
        layer = merge(layer, nested)
    return layer


def overlay(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one layer over another.

    A section whose selector changes starts afresh: settings of one learner, or options of one environment, mean
    nothing to another. A layer that does not name the selector goes on with the one below.

    >>> overlay({"learner": {"kind": "ppo", "epochs": 2}}, {"learner": {"clip": 0.1}})
    {'learner': {'kind': 'ppo', 'epochs': 2, 'clip': 0.1}}
    >>> overlay({"learner": {"kind": "ppo", "epochs": 2}}, {"learner": {"kind": "mezo"}})
    {'learner': {'kind': 'mezo'}}
    """
    kept = {section: value for section, value in lower.items() if not _selects_another(section, value, upper)}
    return merge(kept, upper)


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; anything else is replaced.

    >>> merge({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}})
    {'a': {'b': 1, 'c': [2]}}
    """
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merge(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value))
        merged[key] = value
    return merged


def _selects_another(section: str, below: object, upper: Mapping[str, Any]) -> bool:
    above, selector = upper.get(section), SELECTORS.get(section)
    if selector is None or not isinstance(below, Mapping) or not isinstance(above, Mapping) or selector not in above:
        return False
    return bool(cast("Mapping[str, Any]", above)[selector] != cast("Mapping[str, Any]", below).get(selector))
