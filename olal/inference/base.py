"""The Engine protocol: the one seam between whoever acts and whatever runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from olal.types import AdapterUpdate, Completion, EngineLoad, GenerateRequest, Message, Score, ScoreRequest


class Engine(Protocol):
    """Samples grammar-constrained completions under versioned adapters, many requests at a time.

    The calling loop, as a rollout worker runs it:

        engine.load_adapter(update)                       # between episodes, never within one
        prompt = engine.encode(agent.messages(observation))
        [completion] = engine.generate([GenerateRequest(prompt, grammar, sampling, seed)])
        action = action_grammar.parse(completion.text)

    and one in which requests come and go, each finished row being replaced at once:

        request_id = engine.submit(request)               # at any time
        for request_id, completion in engine.step(): ...  # until num_unfinished is zero
        engine.cancel(request_id)

    Token ids go in and come out; log-probabilities are over the legal tokens alone, temperature and cuts applied.
    What is wrong with one request (a grammar that does not compile, a prompt beyond the context) is told in its own
    completion, with stop reason "error"; the others of the batch are unharmed.
    """

    @property
    def adapter_version(self) -> int:
        """Version of the current adapter."""
        ...

    @property
    def adapter_digest(self) -> str:
        """Digest of the current adapter."""
        ...

    @property
    def num_unfinished(self) -> int:
        """Requests submitted whose completion has not been returned yet."""
        ...

    def load(self) -> EngineLoad:
        """How much there is to do, and how much room is left; costs no more than a look."""
        ...

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Render messages with the model's chat template and return prompt token ids."""
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Sample one completion per request, in order; requests submitted before go on beside them."""
        ...

    def submit(self, request: GenerateRequest) -> int:
        """Queue a request and return its id."""
        ...

    def step(self) -> list[tuple[int, Completion]]:
        """Run the model once at most for all requests in flight; return those that finished, with their ids."""
        ...

    def cancel(self, request_id: int) -> None:
        """Stop a request: the next step returns what there is of it, with stop reason "cancelled".

        An id that is unknown or already returned is ignored, since a cancellation may cross its completion.
        """
        ...

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given tokens, each request under its own adapter, all in one batch."""
        ...

    def load_adapter(self, update: AdapterUpdate, *, is_current: bool = True) -> None:
        """Load an adapter beside those already there.

        Args:
            update: the adapter.
            is_current: let requests that name no adapter use it from now on; the adapter that was current before is
                then unloaded. Otherwise only requests that name its digest use it.

        Raises:
            AdapterMismatch: its size or digest is not that of this model's adapter layout.
        """
        ...

    def unload_adapter(self, digest: str) -> None:
        """Forget an adapter and every context computed under it; an unknown digest is ignored.

        Raises:
            ConfigError: it is the current one, or a request in flight uses it.
        """
        ...
