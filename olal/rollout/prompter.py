"""Prompter: observations to prompt tokens, each text encoded once."""

from __future__ import annotations

from olal.agents import PromptAgent
from olal.inference import Engine

_MOST_KNOWN = 10_000


class Prompter:
    """The agent's messages through the engine's chat template."""

    def __init__(self, agent: PromptAgent, engine: Engine) -> None:
        """Know nothing yet.

        Args:
            agent: writes the messages.
            engine: encodes them.
        """
        self._agent, self._engine = agent, engine
        self._known: dict[str, tuple[int, ...]] = {}

    def prompt(self, observation: str) -> tuple[int, ...]:
        """The tokens that the model sees for an observation."""
        prompt = self._known.get(observation)
        if prompt is None:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            prompt = self._known[observation] = self._engine.encode(self._agent.messages(observation))
        return prompt
