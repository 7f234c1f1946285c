"""The actions that are measured: three JSON schemas, each with 32 different prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from olal.envs.grid_moves import GridState, describe
from olal.envs.grid_world import GridWorld
from olal.grammar import json_grammar
from olal.types import GrammarSpec

BATCH = 32
_CITIES = ["Amsterdam", "Berlin", "Copenhagen", "Dublin", "Lisbon", "Madrid", "Paris", "Vienna"]


@dataclass(frozen=True, slots=True)
class Actions:
    """A kind of action.

    Attributes:
        name: as in the names of measurements.
        schema: JSON Schema of an action.
        instructions: the system's message, which all prompts share; the tiny base's chat template leaves it out.
        prompts: what the user says, 32 different texts.
        spec: the schema as olal's grammar.
    """

    name: str
    schema: Mapping[str, Any]
    instructions: str
    prompts: tuple[str, ...]
    spec: GrammarSpec

    @property
    def schema_text(self) -> str:
        """The schema as outlines takes it."""
        return json.dumps(self.schema)


def grid_world() -> Actions:
    """One move of the grid world, as the environment itself asks for it."""
    moves = {"type": "array", "items": {"enum": ["left", "right", "forward"]}, "minItems": 1, "maxItems": 1}
    states = [GridState(x, y, turn) for x, y, turn in product(range(4), range(4), range(4))][:BATCH]
    prompts = [describe(state, bumped=False) for state in states]
    return _actions("gridworld", _object(moves=moves), GridWorld().instructions, prompts)


def tool_call() -> Actions:
    """One call of one of three tools, every argument from a list."""
    city = {"enum": _CITIES}
    tools = {
        "get_weather": _object(city=city, unit={"enum": ["celsius", "fahrenheit"]}),
        "search_flights": _object(
            origin=city, destination=city, cabin={"enum": ["economy", "business", "first"]}, direct={"type": "boolean"}
        ),
        "set_reminder": _object(
            hour={"enum": list(range(8, 20))}, day={"enum": ["today", "tomorrow"]}, priority={"enum": ["low", "high"]}
        ),
    }
    calls = [_object(name={"const": name}, arguments=arguments) for name, arguments in tools.items()]
    instructions = (
        "You are a travel assistant and answer with one call of a tool. get_weather tells the weather of a city, in "
        "celsius or fahrenheit. search_flights looks for flights between two cities in a cabin, direct or not. "
        "set_reminder reminds of something at an hour of a day. A call is JSON: the name, then the arguments."
    )
    prompts = [f"request {i} about {_CITIES[i % 8]}" for i in range(BATCH)]
    return _actions("tool_call", {"anyOf": calls}, instructions, prompts)


def nested_json(*, longest_text: int = 24) -> Actions:
    """A plan with free texts, a list of steps and an object in each.

    Args:
        longest_text: most characters of a free text, without which an untrained model would never end one.
    """
    text = {"type": "string", "maxLength": longest_text}
    step = _object(
        tool={"enum": ["search", "open", "click"]}, target=_object(kind={"enum": ["link", "form"]}, text=text)
    )
    schema = _object(
        thought=text,
        steps={"type": "array", "items": step, "minItems": 1, "maxItems": 2},
        confidence={"enum": ["low", "medium", "high"]},
    )
    instructions = (
        "You browse the web for a user. Write a thought, then one or two steps, then how sure you are, as JSON. A step "
        "names a tool (search, open or click) and its target, which is a link or a form and the text on it."
    )
    return _actions("nested_json", schema, instructions, [f"page {i} lists {i * 7 % 32} offers" for i in range(BATCH)])


def _object(**properties: Any) -> dict[str, Any]:
    """An object with exactly these properties."""
    names = list(properties)
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def _actions(name: str, schema: Mapping[str, Any], instructions: str, prompts: list[str]) -> Actions:
    if len(set(prompts)) != BATCH:
        raise ValueError(f"{name} needs {BATCH} different prompts: {prompts}")
    return Actions(name, schema, instructions, tuple(prompts), json_grammar(schema))
