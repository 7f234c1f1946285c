"""GridWorld: turn and walk to a goal cell, several moves in one answer; the smallest task with a real plan in it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from olal.envs.grid_moves import MOVES, GridMap, GridState, MoveLists, describe, write_moves
from olal.errors import EnvironmentUnknown, GrammarError
from olal.grammar.action_grammar import ActionGrammar
from olal.grammar.build import json_grammar, lark_grammar
from olal.types import GrammarSpec, TimeStep


class GridWorld:
    """A square grid in which an answer is a list of moves: "left" and "right" turn on the spot, "forward" walks.

    Every executed move pays `step_reward`; reaching the goal adds `goal_reward` and ends the episode at once, so the
    rest of the list is not executed. Walking into the border keeps the position, pays `bump_reward` and is told in the
    next observation.
    """

    def __init__(
        self,
        size: int = 4,
        goal: Sequence[int] = (3, 3),
        start: Sequence[int] | None = None,
        max_moves: int = 1,
        max_turns: int = 20,
        step_reward: float = -0.02,
        goal_reward: float = 1.0,
        bump_reward: float = 0.0,
        forbid_walls: bool = False,
    ) -> None:
        """Lay out the grid.

        Args:
            size: cells along one side.
            goal: the goal cell as (x, y).
            start: where every episode starts as (x, y, orientation), orientation 0 north, 1 east, 2 south, 3 west;
                None draws a cell off the goal and an orientation uniformly from the seed.
            max_moves: most moves in one answer.
            max_turns: answers after which an episode is truncated.
            step_reward: paid for each executed move.
            goal_reward: added when the goal is reached.
            bump_reward: added for each move into the border.
            forbid_walls: let the grammar admit only lists that never walk into the border.

        Raises:
            EnvironmentUnknown: an option has a value the grid does not take.
        """
        _check_count("size", size, 2)
        _check_count("max_moves", max_moves, 1)
        _check_count("max_turns", max_turns, 1)
        rewards: dict[str, Any] = {"step": step_reward, "goal": goal_reward, "bump": bump_reward}
        for name, value in rewards.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise EnvironmentUnknown(f"gridworld: {name}_reward must be a finite number, not {value!r}")
        x, y = _check_cell("goal", goal, 2, size)
        self.grid = GridMap(size, (x, y))
        self.start = None if start is None else GridState(*_check_cell("start", start, 3, size))
        if self.start is not None and self.grid.is_goal(self.start):
            raise EnvironmentUnknown(f"gridworld: start must not be the goal cell {self.grid.goal}")
        self.max_moves = max_moves
        self.step_reward = float(step_reward)
        self.goal_reward = float(goal_reward)
        self.bump_reward = float(bump_reward)
        self.forbid_walls = forbid_walls
        self.move_lists = MoveLists(self.grid, max_moves, forbid_walls)
        self._max_turns = max_turns
        self._state = self.grid.starts()[0]
        self._turns = 0
        self._over = True
        self._free_spec = None if forbid_walls else json_grammar(_moves_schema(max_moves))
        self._grammars: dict[GridState, ActionGrammar] = {}

    @property
    def instructions(self) -> str:
        """The task, the moves and the format, in one paragraph."""
        size, (x, y) = self.grid.size, self.grid.goal
        count = "one move" if self.max_moves == 1 else f"1 to {self.max_moves} moves"
        example = write_moves(("forward", "left")[: self.max_moves])
        return (
            f"You walk on a {size} by {size} grid; x grows to the east and y to the north, from 0 to {size - 1}. "
            f"Reach x={x} y={y} in as few moves as you can. The moves are left and right, which turn you by a quarter, "
            f"and forward, which takes you one cell ahead. Answer with {count}, as {example}."
        )

    @property
    def max_turns(self) -> int:
        """Answers after which an episode is truncated."""
        return self._max_turns

    def reset(self, seed: int) -> TimeStep:
        """Start at the fixed start, or at one drawn from the seed."""
        return self._begin(self.start or random.Random(seed).choice(self.grid.starts()))

    def set_state(self, x: int, y: int, orientation: int) -> TimeStep:
        """Start an episode in a given state.

        Raises:
            ValueError: the state is off the map or on the goal.
        """
        state = GridState(*_check_cell("state", (x, y, orientation), 3, self.grid.size))
        if self.grid.is_goal(state):
            raise ValueError(f"an episode cannot start on the goal cell {self.grid.goal}")
        return self._begin(state)

    def action_grammar(self) -> ActionGrammar:
        """The legal move lists; they depend on the state only where walls are forbidden."""
        grammar = self._grammars.get(self._state)
        if grammar is None:
            spec = self._free_spec or lark_grammar(self.move_lists.lark(self._state))
            grammar = self._grammars[self._state] = self._make_grammar(spec, self._state)
        return grammar

    def step(self, action: Sequence[str]) -> TimeStep:
        """Execute the moves in order until the goal is reached or the list ends.

        Raises:
            GrammarError: the list is not legal in this state.
            RuntimeError: there is no running episode.
        """
        if self._over:
            raise RuntimeError("the episode is over; call reset(seed) to start another")
        reward, any_bump = 0.0, False
        for move in self._check_moves(self._state, action):
            self._state, bumped = self.grid.move(self._state, move)
            reward += self.step_reward + (self.bump_reward if bumped else 0.0)
            any_bump = any_bump or bumped
            if self.grid.is_goal(self._state):
                reward += self.goal_reward
                break
        self._turns += 1
        terminated = self.grid.is_goal(self._state)
        truncated = not terminated and self._turns >= self._max_turns
        self._over = terminated or truncated
        success = terminated if self._over else None
        return TimeStep(describe(self._state, any_bump), reward, terminated, truncated, success)

    def sample_action(self, seed: int) -> tuple[str, ...]:
        """A legal list, uniformly among all legal lists of this state."""
        return self.move_lists.sample(self._state, random.Random(seed))

    def close(self) -> None:
        """Nothing is held."""

    def _begin(self, state: GridState) -> TimeStep:
        self._state, self._turns, self._over = state, 0, False
        return TimeStep(describe(state, bumped=False))

    def _make_grammar(self, spec: GrammarSpec, state: GridState) -> ActionGrammar:
        def write(action: Sequence[str]) -> str:
            return write_moves(self._check_moves(state, action))

        return ActionGrammar(spec, parse=partial(self._parse, state), write=write)

    def _parse(self, state: GridState, text: str) -> tuple[str, ...]:
        try:
            read = json.loads(text)["moves"]
        except (ValueError, TypeError, KeyError):
            raise GrammarError(f'an action is a text like {{"moves":["left"]}}, not {text!r}') from None
        moves = self._check_moves(state, read)
        if write_moves(moves) != text:
            raise GrammarError(f"an action is compact JSON with the one key moves, not {text!r}")
        return moves

    def _check_moves(self, state: GridState, moves: Any) -> tuple[str, ...]:
        if not isinstance(moves, list | tuple) or not self.move_lists.is_legal(state, cast("list[str]", moves)):
            rule = " that never meet the border" if self.forbid_walls else ""
            raise GrammarError(f"an action is 1 to {self.max_moves} of {', '.join(MOVES)}{rule}, not {moves!r}")
        return tuple(cast("list[str]", moves))


def _moves_schema(max_moves: int) -> dict[str, object]:
    moves = {"type": "array", "items": {"enum": list(MOVES)}, "minItems": 1, "maxItems": max_moves}
    return {"type": "object", "properties": {"moves": moves}, "required": ["moves"], "additionalProperties": False}


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise EnvironmentUnknown(f"gridworld: {name} must be a whole number of at least {least}, not {value!r}")


def _check_cell(name: str, value: Any, length: int, size: int) -> tuple[int, ...]:
    shape = "x, y" if length == 2 else "x, y, orientation"
    limits = (size, size, 4)[:length]
    numbers: tuple[Any, ...] = tuple(cast(Any, value)) if isinstance(value, list | tuple) else ()
    whole = len(numbers) == length and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    if not whole or not all(0 <= n < limit for n, limit in zip(numbers, limits, strict=True)):
        allowed = f"0 <= x, y < {size}" + ("" if length == 2 else " and orientation 0, 1, 2 or 3")
        raise EnvironmentUnknown(f"gridworld: {name} must be ({shape}) on the map, {allowed}, not {value!r}")
    return numbers
