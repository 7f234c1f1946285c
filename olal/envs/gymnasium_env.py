"""GymnasiumEnv: any single gymnasium environment as text and grammars."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from olal.envs.check import check_observation, read_flag, read_reward, show
from olal.envs.observations import render_observation
from olal.envs.space_codecs import Names
from olal.envs.spaces import discrete_grammar, space_grammar
from olal.envs.toy_text import find_preset
from olal.errors import BadStep, EnvironmentUnknown
from olal.grammar.action_grammar import ActionGrammar
from olal.types import TimeStep

DEFAULT_MAX_TURNS = 200
LARGEST_OBSERVATION = 1024
"""Most numbers an observation may have before it needs a renderer of its own."""


class GymnasiumEnv:
    """A gymnasium environment that never resets itself, so that a final observation is what it says.

    An episode is truncated by the environment's own limit or after `max_turns`, whichever comes first.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        max_turns: int | None = None,
        action_names: Names | None = None,
        render: Callable[[Any], str] | None = None,
        digits: int = 2,
        use_action_mask: bool = False,
    ) -> None:
        """Adapt an environment.

        Args:
            env: the environment, closed by `close`.
            max_turns: turns after which an episode is truncated; None takes the environment's own limit, else 200.
            action_names: words for the actions, in the shape of the action space; None takes those of the preset, or
                numbers.
            render: observation to text; None takes that of the preset, or `render_observation`.
            digits: decimals of floating-point numbers in actions and observations.
            use_action_mask: let the grammar admit only actions with a 1 in the info's `action_mask`.

        Raises:
            ActionSpaceUnsupported: the action space has no grammar, or the names do not fit it.
            EnvironmentUnknown: an option does not fit the environment.
        """
        self.env = env
        self.preset = find_preset(env)
        self.name = env.spec.id if env.spec else type(env.unwrapped).__name__
        self._space = copy.deepcopy(env.action_space)
        if action_names is None and self.preset:
            action_names = self.preset.action_names
        self._names = action_names
        self._grammar = space_grammar(self._space, action_names, digits)
        self._custom_render = render or (self.preset.render if self.preset else None)
        self._digits = digits
        size = _count_numbers(env.observation_space)
        if self._custom_render is None and size > LARGEST_OBSERVATION:
            raise EnvironmentUnknown(f"{self.name}: give a render function, an observation has {size} numbers")
        limits = [limit for limit in (max_turns, env.spec and env.spec.max_episode_steps) if limit is not None]
        self._max_turns = min(limits, default=DEFAULT_MAX_TURNS)
        if self._max_turns < 1:
            raise EnvironmentUnknown(f"{self.name}: max_turns must be at least 1, not {self._max_turns}")
        if use_action_mask and not isinstance(self._space, spaces.Discrete):
            raise EnvironmentUnknown(f"{self.name}: use_action_mask needs Discrete actions, not {self._space}")
        self.use_action_mask = use_action_mask
        self._masked: dict[tuple[int, ...], ActionGrammar] = {}
        self._allowed: tuple[int, ...] | None = None
        self._turns = 0
        self._return = 0.0
        self._over = True

    @property
    def instructions(self) -> str:
        """The task and the format of an answer."""
        task = self.preset.instructions if self.preset else f"You play {self.name}. Earn as much reward as you can."
        if isinstance(self._space, spaces.Discrete):
            start, count = int(self._space.start), int(self._space.n)
            texts = [self._grammar.write(start + i) for i in range(min(count, 20))]
            others = f" ... {self._grammar.write(start + count - 1)}" if count > 20 else ""
            return f"{task} Answer with one of: {', '.join(texts)}{others}."
        return f"{task} Answer with an action of {self._space} as JSON, as {self._grammar.write(self._draw(0))}."

    @property
    def max_turns(self) -> int:
        """Turns after which an episode is truncated."""
        return self._max_turns

    def render(self, observation: Any) -> str:
        """The text of an observation."""
        if self._custom_render is None:
            return render_observation(observation, self.env.observation_space, self._digits)
        text: Any = self._custom_render(observation)
        if not isinstance(text, str):
            raise ValueError(f"{self.name}: render must return a text, not {text!r}")
        return text

    def action_text(self, action: Any) -> str:
        """The text of an action, whether or not a mask allows it now."""
        return self._grammar.write(action)

    def reset(self, seed: int) -> TimeStep:
        """Start the episode of a seed.

        Raises:
            EnvironmentFault: what the environment returned is not an observation of its space and an info.
        """
        observation, info = _parts(self.env.reset(seed=seed), "(observation, info)")
        check_observation(observation, self.env.observation_space)
        self._turns, self._return, self._over = 0, 0.0, False
        self._read_mask(info)
        return TimeStep(self.render(observation))

    def action_grammar(self) -> ActionGrammar:
        """The actions of the space, or those the mask allows now."""
        if self._allowed is None:
            return self._grammar
        grammar = self._masked.get(self._allowed)
        if grammar is None:
            space = cast("spaces.Discrete", self._space)
            grammar = self._masked[self._allowed] = discrete_grammar(space, self._names, self._allowed)
        return grammar

    def step(self, action: Any) -> TimeStep:
        """Act.

        Raises:
            GrammarError: the action is not legal in this state.
            RuntimeError: there is no running episode.
            EnvironmentFault: what the environment returned is not five values, not a finite reward, not two flags, or
                an observation outside of its space.
        """
        if self._over:
            raise RuntimeError("the episode is over; call reset(seed) to start another")
        self.action_grammar().write(action)
        observation, paid, is_terminated, is_truncated, info = _parts(
            self.env.step(action), "(observation, reward, terminated, truncated, info)"
        )
        reward = read_reward(paid)
        terminated, is_cut = read_flag(is_terminated), read_flag(is_truncated)
        check_observation(observation, self.env.observation_space)
        self._turns += 1
        self._return += reward
        truncated = not terminated and (is_cut or self._turns >= self._max_turns)
        self._over = terminated or truncated
        self._read_mask(info)
        success = self.preset.is_success(self._return, terminated) if self.preset and self._over else None
        return TimeStep(self.render(observation), reward, terminated, truncated, success)

    def sample_action(self, seed: int) -> Any:
        """A legal action: uniform over numbers, rounded as the grammar writes them; texts as gymnasium draws them."""
        return self._draw(seed)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def _draw(self, seed: int) -> Any:
        if isinstance(self._space, spaces.Discrete):
            allowed = range(int(self._space.n)) if self._allowed is None else self._allowed
            return int(self._space.start) + random.Random(seed).choice(allowed)
        self._space.seed(seed)
        return self._grammar.parse(self._grammar.write(self._space.sample()))

    def _read_mask(self, info: Mapping[str, Any]) -> None:
        if not self.use_action_mask:
            return
        if "action_mask" not in info:
            raise ValueError(f"{self.name}: use_action_mask is on, but the info has no action_mask: {sorted(info)}")
        self._allowed = tuple(int(i) for i in np.flatnonzero(info["action_mask"]))


def _parts(result: Any, shape: str) -> tuple[Any, ...]:
    """What a method of the environment returned, taken apart; the last part is the info."""
    parts = cast("tuple[Any, ...]", result) if isinstance(result, tuple) else ()
    if len(parts) != shape.count(",") + 1 or not isinstance(parts[len(parts) - 1], Mapping):
        raise BadStep(f"{shape} must be returned, not {show(result)}")
    return parts


def _count_numbers(space: Any) -> int:
    if isinstance(space, spaces.Dict):
        return sum(_count_numbers(space[key]) for key in space)
    if isinstance(space, spaces.Tuple):
        return sum(map(_count_numbers, cast("spaces.Tuple[Any]", space).spaces))
    return math.prod(space.shape or ())
