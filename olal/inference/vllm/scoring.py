"""ScoreTable: sequences whose tokens are scored while vLLM runs them as prompts. Knows nothing of vLLM.

The last hidden states of a pass are turned into logits only where a decision was made, a bounded number of positions at
a time, and those at once into the few numbers that were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from olal.errors import ConfigError, GrammarError
from olal.grammar import GrammarState, Vocabulary
from olal.inference.sampler import legal_distribution
from olal.types import GrammarSpec, Score, ScoreRequest

_MOST_LOGITS = 1 << 22


@dataclass(eq=False, slots=True)
class ScoreJob:
    """One request; `states` is empty without a grammar."""

    request: ScoreRequest
    adapter: str
    states: list[GrammarState]
    logprobs: list[float]
    log_legal_mass: list[float]

    @property
    def sequence(self) -> tuple[int, ...]:
        """What the model has to read: everything but the last token."""
        return (*self.request.prompt_token_ids, *self.request.token_ids)[:-1]

    @property
    def positions(self) -> list[int]:
        """Indices of the scored tokens that had an alternative."""
        return [t for t in range(len(self.logprobs)) if not self.states or not self.states[t].is_forced]

    def answer(self) -> Score:
        """The score, once every position was read."""
        forced = tuple(state.is_forced for state in self.states) or (False,) * len(self.logprobs)
        return Score(tuple(self.logprobs), forced, tuple(self.log_legal_mass))


class ScoreTable:
    """Jobs by vLLM's request id."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Begin without jobs."""
        self.jobs: dict[str, ScoreJob] = {}
        self._vocabulary = vocabulary

    def prepare(self, request: ScoreRequest, adapter: str, max_context: int) -> ScoreJob:
        """Check a request and look up its legal sets.

        Args:
            request: what is asked.
            adapter: digest of the adapter to score under.
            max_context: most tokens the model holds.

        Raises:
            ConfigError: it has no prompt, a token that is none, or does not fit.
            GrammarError: the grammar does not compile, or forbids a token.
        """
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        sequence = (*request.prompt_token_ids, *request.token_ids)
        if len(sequence) > max_context:
            raise ConfigError(f"{len(sequence)} tokens are to be scored, the model holds {max_context}")
        if wrong := [token for token in sequence if not 0 <= token < self._vocabulary.size]:
            raise ConfigError(f"token ids must be below {self._vocabulary.size}: {wrong[0]}")
        states = [] if request.grammar is None else self._states(request.grammar, request.token_ids)
        num_tokens = len(request.token_ids)
        return ScoreJob(request, adapter, states, [0.0] * num_tokens, [0.0] * num_tokens)

    def _states(self, grammar: GrammarSpec, tokens: Sequence[int]) -> list[GrammarState]:
        states: list[GrammarState] = []
        for t, token in enumerate(tokens):
            states.append(self._vocabulary.state(grammar, tokens[:t]))
            if not (states[t].legal == token).any():
                raise GrammarError(f"token {token} is not legal at position {t}")
        return states

    def read(self, name: str, start: int, count: int, logits_of: Callable[[Sequence[int]], Any]) -> None:
        """Take from one pass what it says of a job.

        Args:
            name: the job's.
            start: tokens of the sequence that were computed before.
            count: tokens computed in this pass.
            logits_of: from rows of this pass to float logits of shape (len(rows), vocabulary).
        """
        job = self.jobs[name]
        first = len(job.request.prompt_token_ids)
        here = [t for t in job.positions if start < first + t <= start + count]
        most = max(1, _MOST_LOGITS // self._vocabulary.size)
        for begin in range(0, len(here), most):
            part = here[begin : begin + most]
            values = logits_of([first + t - 1 - start for t in part]).float().cpu().numpy()
            for t, row in zip(part, values, strict=True):
                legal = job.states[t].legal if job.states else None
                distribution = legal_distribution(row, legal, job.request.sampling)
                job.logprobs[t] = distribution.logprob(job.request.token_ids[t])
                job.log_legal_mass[t] = distribution.log_legal_mass if job.states else 0.0
