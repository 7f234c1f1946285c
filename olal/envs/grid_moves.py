"""The rules of the grid: where a move leads, which lists of moves are legal, and the grammar of those lists.

Pure and small, so that the environment, its exact optimum and the state-dependent grammar share one set of rules.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOVES = ("left", "right", "forward")
FACINGS = ("north", "east", "south", "west")
STEP_X = (0, 1, 0, -1)
STEP_Y = (1, 0, -1, 0)


@dataclass(frozen=True, slots=True)
class GridState:
    """Where the walker stands and which way it faces (0 north, 1 east, 2 south, 3 west)."""

    x: int
    y: int
    orientation: int


@dataclass(frozen=True, slots=True)
class GridMap:
    """A square of `size` by `size` cells with one goal cell; y grows to the north, x to the east."""

    size: int
    goal: tuple[int, int]

    def is_goal(self, state: GridState) -> bool:
        """Whether the walker stands on the goal."""
        return (state.x, state.y) == self.goal

    def starts(self) -> list[GridState]:
        """Every state off the goal, in a fixed order."""
        cells = [(x, y) for x in range(self.size) for y in range(self.size) if (x, y) != self.goal]
        return [GridState(x, y, orientation) for x, y in cells for orientation in range(4)]

    def move(self, state: GridState, move: str) -> tuple[GridState, bool]:
        """One move: the state after it and whether it bumped into the border."""
        if move != "forward":
            turn = 1 if move == "right" else -1
            return GridState(state.x, state.y, (state.orientation + turn) % 4), False
        x, y = state.x + STEP_X[state.orientation], state.y + STEP_Y[state.orientation]
        if 0 <= x < self.size and 0 <= y < self.size:
            return GridState(x, y, state.orientation), False
        return state, True


class MoveLists:
    """The legal lists of 1 to `max_moves` moves from each state.

    Without `forbid_walls` every list is legal. With it a list is legal when none of the moves that are executed bumps;
    moves after the goal are never executed, so any may follow.
    """

    def __init__(self, grid: GridMap, max_moves: int, forbid_walls: bool) -> None:
        """Lists on one grid; see the class for the rules."""
        self._grid = grid
        self._max_moves = max_moves
        self._forbid_walls = forbid_walls
        self._counts: dict[tuple[GridState, int], int] = {}

    def options(self, state: GridState) -> list[tuple[str, GridState]]:
        """The legal next moves, each with the state it leads to; the goal keeps the walker."""
        if self._grid.is_goal(state):
            return [(move, state) for move in MOVES]
        options: list[tuple[str, GridState]] = []
        for move in MOVES:
            after, bumped = self._grid.move(state, move)
            if not (bumped and self._forbid_walls):
                options.append((move, after))
        return options

    def is_legal(self, state: GridState, moves: Sequence[str]) -> bool:
        """Whether the list may be played from the state."""
        for move in moves:
            after = next((after for name, after in self.options(state) if name == move), None)
            if after is None:
                return False
            state = after
        return 1 <= len(moves) <= self._max_moves

    def lists(self, state: GridState) -> Iterator[tuple[str, ...]]:
        """Every legal list, shorter prefixes first."""
        return self._extend((), state)

    def _extend(self, prefix: tuple[str, ...], state: GridState) -> Iterator[tuple[str, ...]]:
        if len(prefix) == self._max_moves:
            return
        for move, after in self.options(state):
            yield (*prefix, move)
            yield from self._extend((*prefix, move), after)

    def count(self, state: GridState) -> int:
        """How many lists are legal from the state."""
        return self._endings(state, self._max_moves) - 1

    def sample(self, state: GridState, rng: random.Random) -> tuple[str, ...]:
        """One legal list, uniformly among all of them, without listing them."""
        moves: list[str] = []
        left = self._max_moves
        rank = rng.randrange(self.count(state)) + 1  # rank 0 would be to stop before the first move
        while rank > 0:
            rank, left = rank - 1, left - 1
            for move, after in self.options(state):
                endings = self._endings(after, left)
                if rank < endings:
                    moves.append(move)
                    state = after
                    break
                rank -= endings
        return tuple(moves)

    def _endings(self, state: GridState, left: int) -> int:
        """Ways to go on with at most `left` more moves; stopping here is one of them."""
        if left == 0:
            return 1
        key = (state, left)
        if key not in self._counts:
            self._counts[key] = 1 + sum(self._endings(after, left - 1) for _, after in self.options(state))
        return self._counts[key]

    def lark(self, state: GridState) -> str:
        """Lark grammar of the legal lists as JSON text, the same text for states with the same lists.

        Each terminal is what may follow after some moves. Terminals with equal bodies share one name, so the grammar
        is the smallest automaton of these lists and does not grow with their number.
        """
        names: dict[str, str] = {}
        known: dict[tuple[GridState, int], str] = {}

        def rest(at: GridState, left: int) -> str:
            key = (at, left)
            if key not in known:
                quoted = "|".join(f'"\\"{move}\\"" {tail(after, left - 1)}' for move, after in self.options(at))
                known[key] = names.setdefault(quoted, f"M{len(names)}")
            return known[key]

        def tail(at: GridState, left: int) -> str:
            return f'("]}}" | "," {rest(at, left)})' if left else '"]}"'

        first = rest(state, self._max_moves)
        rules = [f"{name}: {body}" for body, name in names.items()]
        return "\n".join(["start: LIST", f'LIST: "{{\\"moves\\":[" {first}', *rules]) + "\n"


def write_moves(moves: Sequence[str]) -> str:
    """A list of moves as compact JSON.

    >>> write_moves(["forward", "left"])
    '{"moves":["forward","left"]}'
    """
    return json.dumps({"moves": list(moves)}, separators=(",", ":"))


def describe(state: GridState, bumped: bool) -> str:
    """What the walker is told after an answer.

    >>> describe(GridState(1, 2, 0), bumped=True)
    'grid x=1 y=2 facing north bumped'
    """
    return f"grid x={state.x} y={state.y} facing {FACINGS[state.orientation]}" + (" bumped" if bumped else "")
