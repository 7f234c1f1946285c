"""Choice scoring: given candidates ranked by the model's own probability of each, in one batch over a shared trie.

Nothing is sampled. A candidate's tokens are those that a grammar of this candidate alone forces, hence exactly what
the engine would write for it; what candidates and prompts share is run through the model once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from olal.errors import ConfigError, GrammarError
from olal.grammar import Vocabulary, choice_grammar
from olal.inference.base import Engine
from olal.types import SamplingParams, ScoreRequest

Normalisation = Literal["none", "tokens", "bytes"]


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """One candidate's place.

    Attributes:
        index: its place among the choices as given.
        text: the candidate.
        token_ids: what was scored, end-of-sequence included where it was asked for.
        logprob: natural log-probability of these tokens under the model, without a grammar.
        score: what the candidates are ranked by: `logprob`, calibrated and normalised as asked.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    logprob: float
    score: float


def rank_choices(
    engine: Engine,
    vocabulary: Vocabulary,
    prompt_token_ids: tuple[int, ...],
    choices: Sequence[str],
    *,
    normalisation: Normalisation = "none",
    calibration_prompt_token_ids: tuple[int, ...] | None = None,
    is_terminated: bool = True,
    adapter: str | None = None,
) -> list[ChoiceScore]:
    """Rank candidates by (log p(y | x) - log p(y | x0)) / length(y).

    Args:
        engine: any engine.
        vocabulary: the engine's.
        prompt_token_ids: x.
        choices: the candidates y, all different and none empty.
        normalisation: length(y): 1, the number of scored tokens, or the number of UTF-8 bytes of the text.
        calibration_prompt_token_ids: x0, a prompt without content, so that candidates which are likely anywhere gain
            nothing (contextual calibration, Zhao et al. 2021, and the domain-conditional PMI of Holtzman et al. 2021,
            "Surface form competition", eq. 2, which this is). None leaves the term out.
        is_terminated: score end-of-sequence too, so that a candidate that begins another one is not favoured.
        adapter: digest of the loaded adapter; None for the current one.

    Returns:
        The candidates, best first; ties in the order given.

    Raises:
        ConfigError: no candidates, one given twice or empty, or the engine cannot serve a prompt.
        GrammarError: a candidate cannot be spelled with the vocabulary.
    """
    _check(choices)
    token_ids = [choice_tokens(vocabulary, text, is_terminated=is_terminated) for text in choices]
    prompts = [prompt_token_ids]
    if calibration_prompt_token_ids is not None:
        prompts.append(calibration_prompt_token_ids)
    asked = [ScoreRequest(prompt, ids, None, SamplingParams(), adapter) for prompt in prompts for ids in token_ids]
    totals: list[float] = []
    for score in engine.score(asked):
        if score.error:
            raise ConfigError(score.error)
        totals.append(sum(score.logprobs))
    ranked: list[ChoiceScore] = []
    for index, (text, ids) in enumerate(zip(choices, token_ids, strict=True)):
        gain = totals[index] - (totals[len(choices) + index] if len(prompts) > 1 else 0.0)
        length = {"none": 1, "tokens": len(ids), "bytes": len(text.encode())}[normalisation]
        ranked.append(ChoiceScore(index, text, ids, totals[index], gain / length))
    return sorted(ranked, key=lambda choice: -choice.score)


def choice_tokens(vocabulary: Vocabulary, text: str, *, is_terminated: bool = True) -> tuple[int, ...]:
    """The tokens that a grammar of this text alone forces, with or without the end-of-sequence token.

    Raises:
        GrammarError: the vocabulary cannot spell the text, or spells it in more than one way.
    """
    tokens, state = vocabulary.forced_run(choice_grammar([text]), (), limit=len(text.encode()) + 1)
    if not state.is_complete:
        raise GrammarError(f"this vocabulary has no single way to spell the choice: {text!r}")
    return tokens if is_terminated else tokens[:-1]


def _check(choices: Sequence[str]) -> None:
    if not choices:
        raise ConfigError("there must be at least one choice: none given")
    seen: set[str] = set()
    for text in choices:
        if not text or text in seen:
            raise ConfigError(f"choices must be all different and none empty: {text!r}")
        seen.add(text)
