"""Presets for gymnasium's toy-text tasks: words for actions, readable observations, instructions, a success rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium


@dataclass(frozen=True, slots=True)
class Preset:
    """What olal knows of a task beyond its spaces.

    Attributes:
        action_names: one word per action, in the order of the action space.
        render: observation to text.
        instructions: the task in one paragraph, without the answer format.
        is_success: whether a finished episode counts as solved, from its return and whether the task itself ended it.
    """

    action_names: tuple[str, ...]
    render: Callable[[Any], str]
    instructions: str
    is_success: Callable[[float, bool], bool]


def find_preset(env: gymnasium.Env[Any, Any]) -> Preset | None:
    """The preset of a gymnasium environment, by the name in its id; None where olal has none."""
    if env.spec is None or env.spec.namespace is not None:
        return None
    for name, make in _PRESETS.items():
        if env.spec.name.startswith(name):
            return make(env.unwrapped)
    return None


def _frozen_lake(env: Any) -> Preset:
    rows, columns = int(env.nrow), int(env.ncol)
    start, goal = (" and ".join(_cells(env.desc, letter, columns)) for letter in (b"S", b"G"))
    slips = any(len(outcomes) > 1 for actions in env.P.values() for outcomes in actions.values())

    def is_success(episode_return: float, terminated: bool) -> bool:
        return bool(env.desc[divmod(int(env.s), columns)] == b"G")

    return Preset(
        ("left", "down", "right", "up"),
        lambda observation: "lake row={} col={}".format(*divmod(int(observation), columns)),
        f"You cross a frozen lake of {rows} rows and {columns} columns, numbered from 0 at the top left, from {start} "
        f"to {goal}. Some cells are holes, at {', '.join(_cells(env.desc, b'H', columns)) or 'none'}; to step into one "
        "ends the game."
        + (" The ice is slippery: you may slide to the left or right of where you want to go." if slips else ""),
        is_success,
    )


def _cells(desc: Any, letter: bytes, columns: int) -> list[str]:
    cells = [divmod(i, columns) for i, cell in enumerate(desc.ravel()) if cell == letter]
    return [f"row {row} column {column}" for row, column in cells]


def _blackjack(env: Any) -> Preset:
    return Preset(
        ("stick", "hit"),
        lambda observation: "blackjack sum={} dealer={} ace={}".format(*(int(number) for number in observation)),
        "You play Blackjack. sum is the value of your cards, dealer the card the dealer shows (1 is an ace), ace=1 "
        "means that one of your aces counts 11. hit draws a card, and a sum over 21 loses. stick ends your turn; the "
        "dealer then draws up to 17, and the higher sum of at most 21 wins.",
        lambda episode_return, terminated: episode_return > 0,
    )


def _cliff_walking(env: Any) -> Preset:
    rows, columns = env.shape
    return Preset(
        ("up", "right", "down", "left"),
        lambda observation: "cliff row={} col={}".format(*divmod(int(observation), columns)),
        f"You walk on a grid of {rows} rows and {columns} columns, numbered from 0 at the top left, from row "
        f"{rows - 1} column 0 to row {rows - 1} column {columns - 1}. The cells between them in row {rows - 1} are a "
        "cliff: to fall costs 100 and takes you back to the start. Every move costs 1."
        + (" The ground is slippery: you may slip to the left or right of where you want to go." * env.is_slippery),
        lambda episode_return, terminated: terminated,
    )


_STANDS = ("red", "green", "yellow", "blue")


def _taxi(env: Any) -> Preset:
    def render(observation: Any) -> str:
        row, column, passenger, destination = env.decode(int(observation))
        place, goal = (*_STANDS, "taxi")[int(passenger)], _STANDS[int(destination)]
        return f"taxi row={row} col={column} passenger={place} destination={goal}"

    places = zip(_STANDS, env.locs, strict=True)
    stands = ", ".join(f"{name} row {row} column {column}" for name, (row, column) in places)
    return Preset(
        ("south", "north", "east", "west", "pickup", "dropoff"),
        render,
        "You drive a taxi on a grid of 5 rows and 5 columns with some walls, numbered from 0 at the north-west corner. "
        f"Fetch the passenger and drop it off at its destination. The stands are {stands}. Every action costs 1, a "
        "pickup or dropoff at a wrong place costs 10, and the ride pays 20.",
        lambda episode_return, terminated: terminated,
    )


_PRESETS: dict[str, Callable[[Any], Preset]] = {
    "FrozenLake": _frozen_lake,
    "Blackjack": _blackjack,
    "CliffWalking": _cliff_walking,
    "Taxi": _taxi,
}
