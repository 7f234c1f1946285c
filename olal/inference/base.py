"""The Engine protocol: the one seam between whoever acts and whatever runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from olal.types import AdapterUpdate, Completion, GenerateRequest, Message


class Engine(Protocol):
    """Samples grammar-constrained completions under a versioned adapter.

    The calling loop, as a rollout worker runs it:

        engine.load_adapter(update)                       # between episodes, never within one
        prompt = engine.encode(agent.messages(observation))
        [completion] = engine.generate([GenerateRequest(prompt, grammar, sampling, seed)])
        action = action_grammar.parse(completion.text)

    Token ids go in and come out; log-probabilities are over the legal tokens alone, temperature applied.
    """

    @property
    def adapter_version(self) -> int:
        """Version of the adapter that the next generate will use."""
        ...

    @property
    def adapter_digest(self) -> str:
        """Digest of that adapter."""
        ...

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Render messages with the model's chat template and return prompt token ids."""
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Sample one completion per request, in order, all in one batch."""
        ...

    def load_adapter(self, update: AdapterUpdate) -> None:
        """Make `update` the current adapter.

        Raises:
            AdapterMismatch: its size or digest is not that of this model's adapter layout.
        """
        ...
