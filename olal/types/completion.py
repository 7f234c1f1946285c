"""What an engine is asked for and what it answers: token ids in, token ids and exact log-probabilities out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from olal.errors import ConfigError
from olal.types.grammar_spec import GrammarSpec

StopReason = Literal["grammar", "length", "paused", "cancelled", "deadline", "error"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw tokens from the legal distribution.

    The logits are divided by the temperature, softened over the legal tokens, cut to the `top_k` most likely, then to
    the smallest set of most likely ones that holds at least `top_p`, and renormalised. Ties at a cut stay.

    Attributes:
        temperature: divides the logits before the softmax; 0 takes the most likely legal token, with probability 1.
        max_tokens: most tokens a completion may have, end-of-sequence included.
        top_k: most tokens to draw from; 0 for all.
        top_p: least probability of the tokens to draw from; 1 for all.
    """

    temperature: float = 1.0
    max_tokens: int = 64
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ConfigError(f"the temperature must be a finite number and not negative: {self.temperature}")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1: {self.max_tokens}")
        if self.top_k < 0:
            raise ConfigError(f"top_k must be 0 (all tokens) or more: {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1: {self.top_p}")


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to sample.

    Attributes:
        prompt_token_ids: the context, as tokens; never re-tokenised.
        grammar: what the completion must match.
        sampling: temperature, cuts and length bound.
        seed: key of this request's own randomness, so the draw does not depend on its batch.
        adapter: digest of the loaded adapter to sample under; None for the current one.
        prefix: tokens of the completion that are already there; the answer holds what comes after them.
        max_decisions: stop, with reason "paused", before one more decision than this would be made; None for no bound.
        deadline_s: seconds after submission at which to stop with what there is; None for no deadline.
    """

    prompt_token_ids: tuple[int, ...]
    grammar: GrammarSpec
    sampling: SamplingParams
    seed: int
    adapter: str | None = None
    prefix: tuple[int, ...] = ()
    max_decisions: int | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class DraftStatistics:
    """What became of drafted tokens, by their position in the draft: entry 0 counts the first drafted tokens.

    Attributes:
        proposed: decisions drafted and put to the model.
        accepted: of these, those that the model's own draw equalled.
    """

    proposed: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()

    @classmethod
    def total(cls, statistics: Iterable[DraftStatistics]) -> DraftStatistics:
        """The sum by position.

        >>> DraftStatistics.total([DraftStatistics((2, 1), (1, 0)), DraftStatistics((3,), (3,))])
        DraftStatistics(proposed=(5, 1), accepted=(4, 0))
        """
        rows = [(one.proposed, one.accepted) for one in statistics]
        proposed, accepted = zip(*rows, strict=True) if rows else ((), ())
        return cls(
            tuple(sum(column) for column in zip_longest(*proposed, fillvalue=0)),
            tuple(sum(column) for column in zip_longest(*accepted, fillvalue=0)),
        )


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion with all that a learner needs to reproduce its probability.

    Attributes:
        token_ids: sampled tokens, the final end-of-sequence token included.
        text: the decoded action, without end-of-sequence.
        logprobs: natural log-probability of each token under the distribution it was drawn from
            (legal tokens only, temperature and cuts applied); 0.0 where the token was forced.
        forced: whether the token was the only legal one; such tokens cost no model pass and get no gradient.
        log_legal_mass: natural log of the probability that the unmasked model at this temperature gives to the legal
            set (0.0 where forced, since no pass was made; at temperature 0 that at temperature 1).
        adapter_version: the adapter under which every token was sampled.
        stop_reason: "grammar" when the sentence is complete; "length" when max_tokens cut it; "paused" before the
            decision after max_decisions; "cancelled", "deadline"; "error" when the request could not be served.
        num_passes: model passes this completion waited for.
        delegated: whether a draft model alone wrote the token, which therefore says nothing of this model's policy;
            empty where none did.
        drafts: what speculation proposed and how much of it was kept.
        error: one line when the stop reason is "error", else empty.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    forced: tuple[bool, ...]
    log_legal_mass: tuple[float, ...]
    adapter_version: int
    stop_reason: StopReason
    num_passes: int
    delegated: tuple[bool, ...] = ()
    drafts: DraftStatistics = DraftStatistics()
    error: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Tokens whose probability is asked for, teacher-forced.

    Attributes:
        prompt_token_ids: the context.
        token_ids: the tokens to score, each given all before it.
        grammar: score under the legal distribution of this grammar; None for the model's own over the vocabulary.
        sampling: temperature and cuts of the distribution; the length bound plays no part.
        adapter: digest of the loaded adapter; None for the current one.
    """

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    grammar: GrammarSpec | None = None
    sampling: SamplingParams = SamplingParams()
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Teacher-forced probabilities, one entry per scored token.

    Attributes:
        logprobs: natural log-probabilities; minus infinity where a cut excludes the token.
        forced: whether the token was the only legal one; never without a grammar.
        log_legal_mass: as in `Completion`; 0.0 without a grammar.
        error: one line when the request could not be served, and then the rest is empty.
    """

    logprobs: tuple[float, ...]
    forced: tuple[bool, ...]
    log_legal_mass: tuple[float, ...]
    error: str = ""
