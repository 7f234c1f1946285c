"""What an engine is asked for and what it answers: token ids in, token ids and exact log-probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from olal.types.grammar_spec import GrammarSpec

StopReason = Literal["grammar", "length"]


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw tokens from the legal distribution.

    Attributes:
        temperature: divides the logits before the softmax; 0 takes the most likely legal token.
        max_tokens: most tokens a completion may have, end-of-sequence included.
    """

    temperature: float = 1.0
    max_tokens: int = 64


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One completion to sample.

    Attributes:
        prompt_token_ids: the context, as tokens; never re-tokenised.
        grammar: what the completion must match.
        sampling: temperature and length bound.
        seed: key of this request's own random stream, so the draw does not depend on its batch.
    """

    prompt_token_ids: tuple[int, ...]
    grammar: GrammarSpec
    sampling: SamplingParams
    seed: int


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled completion with all that a learner needs to reproduce its probability.

    Attributes:
        token_ids: sampled tokens, the final end-of-sequence token included.
        text: the decoded action, without end-of-sequence.
        logprobs: natural log-probability of each token under the distribution it was drawn from
            (legal tokens only, temperature applied); 0.0 where the token was forced.
        forced: whether the token was the only legal one; such tokens cost no model pass and get no gradient.
        log_legal_mass: natural log of the probability that the unmasked model gives to the legal set
            (0.0 where forced, since no pass was made).
        adapter_version: the adapter under which every token was sampled.
        stop_reason: "grammar" when the sentence is complete, "length" when it was cut.
        num_passes: model passes this completion waited for.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    forced: tuple[bool, ...]
    log_legal_mass: tuple[float, ...]
    adapter_version: int
    stop_reason: StopReason
    num_passes: int
