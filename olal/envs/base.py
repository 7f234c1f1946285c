"""The Environment protocol: what olal asks of a task, in text and grammars."""

from __future__ import annotations

from typing import Any, Protocol

from olal.grammar.action_grammar import ActionGrammar
from olal.types import TimeStep


class Environment(Protocol):
    """One task an agent can play; one object plays one episode at a time.

    The loop that plays it::

        step = env.reset(seed)
        while not step.is_last:
            grammar = env.action_grammar()          # legal actions in this state
            action = grammar.parse(text)            # text the engine sampled under grammar.spec
            step = env.step(action)
        env.close()
    """

    @property
    def instructions(self) -> str:
        """What the task is and how to act, for a model that can read: one short paragraph."""
        ...

    @property
    def max_turns(self) -> int:
        """Turns after which an episode is truncated."""
        ...

    def reset(self, seed: int) -> TimeStep:
        """Start an episode that depends on nothing but the seed."""
        ...

    def action_grammar(self) -> ActionGrammar:
        """Grammar of the actions legal in the present state, with the parser that reads them."""
        ...

    def step(self, action: Any) -> TimeStep:
        """Act. The last step of an episode sets terminated or truncated, and success where it has a meaning."""
        ...

    def sample_action(self, seed: int) -> Any:
        """An action drawn uniformly from those legal in the present state: the random policy."""
        ...

    def close(self) -> None:
        """Free what the environment holds."""
        ...
