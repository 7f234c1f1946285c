"""Pinned: choices are ranked as brute force ranks them, a float64 forward for each; what they share is run once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from olal.errors import ConfigError
from olal.grammar import Vocabulary, choice_grammar
from olal.inference import Engine
from olal.inference.choices import choice_tokens, rank_choices
from olal.inference.transformers_engine import TransformersEngine
from olal.models.policy_network import PolicyNetwork

TEXTS = ["left", "left left", "left right up", "right", "up", "a", "é☃", '["left"]', '["left","right"]']


@pytest.fixture
def prompt(tokenizer: Any) -> tuple[int, ...]:
    return tuple(tokenizer.encode("lake row=0 col=0\n").ids)


@pytest.fixture
def blank(tokenizer: Any) -> tuple[int, ...]:
    return tuple(tokenizer.encode("lake row=\n").ids)


@pytest.mark.parametrize("is_terminated", [True, False])
@pytest.mark.parametrize("is_calibrated", [True, False])
@pytest.mark.parametrize("normalisation", ["none", "tokens", "bytes"])
def test_choices_are_ranked_as_brute_force_ranks_them(
    engine: Engine,
    vocabulary: Vocabulary,
    oracle: Any,
    tokenizer: Any,
    prompt: tuple[int, ...],
    blank: tuple[int, ...],
    normalisation: Any,
    is_calibrated: bool,
    is_terminated: bool,
) -> None:
    expected = []
    for text in TEXTS:
        tokens = [*tokenizer.encode(text).ids, *[vocabulary.eos_token_id] * is_terminated]
        gain = sum(oracle.logprobs(prompt, tokens)) - is_calibrated * sum(oracle.logprobs(blank, tokens))
        expected.append(gain / {"none": 1, "tokens": len(tokens), "bytes": len(text.encode())}[normalisation])

    ranked = rank_choices(
        engine,
        vocabulary,
        prompt,
        TEXTS,
        normalisation=normalisation,
        calibration_prompt_token_ids=blank if is_calibrated else None,
        is_terminated=is_terminated,
    )

    assert [choice.index for choice in ranked] == sorted(range(len(TEXTS)), key=lambda i: -expected[i])
    for choice in ranked:
        assert choice.text == TEXTS[choice.index]
        assert choice.score == pytest.approx(expected[choice.index], abs=1e-4)
        assert choice.logprob == pytest.approx(sum(oracle.logprobs(prompt, choice.token_ids)), abs=1e-4)


def test_each_question_can_have_its_own_adapter(
    engine: Engine, vocabulary: Vocabulary, prompt: tuple[int, ...], flat: Any, update_of: Any, make_oracle: Any
) -> None:
    other = flat * 0.5
    engine.load_adapter(update_of(6, other), is_current=False)

    ranked = rank_choices(engine, vocabulary, prompt, TEXTS, adapter=update_of(6, other).digest)

    for choice in ranked:
        assert choice.logprob == pytest.approx(sum(make_oracle(other).logprobs(prompt, choice.token_ids)), abs=1e-4)


class CountingNetwork(PolicyNetwork):
    """Counts the tokens of every pass."""

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__(network.base, network.bank)
        self.num_tokens: list[int] = []

    def extend(self, past: Any, new: Sequence[Sequence[int]], wanted: Any = None) -> Any:
        self.num_tokens.append(sum(map(len, new)))
        return super().extend(past, new, wanted)


def test_what_choices_share_is_run_once(
    tiny_engine: PolicyNetwork, vocabulary: Vocabulary, prompt: tuple[int, ...]
) -> None:
    texts = [f"left right forward left {end}" for end in ("up", "down", "a", "b")]
    tokens = [choice_tokens(vocabulary, text) for text in texts]
    read = {(*prompt, *ids[:stop]) for ids in tokens for stop in range(len(ids))}  # all but the last is read
    network = CountingNetwork(tiny_engine)

    rank_choices(TransformersEngine(network), vocabulary, prompt, texts)

    assert sum(network.num_tokens) == len(prompt) - 1 + len(read)
    assert sum(network.num_tokens) < sum(len(prompt) + len(ids) for ids in tokens) / 2
    assert len(network.num_tokens) <= 3


def test_a_choice_is_spelled_as_the_engine_would_write_it(
    engine: Engine, vocabulary: Vocabulary, ask: Callable[..., Any], tokenizer: Any
) -> None:
    for text in [*TEXTS, " left .", "0" * 200]:
        [completion] = engine.generate(ask(choice_grammar([text]), max_tokens=300))
        assert choice_tokens(vocabulary, text) == completion.token_ids
        assert choice_tokens(vocabulary, text, is_terminated=False) == tuple(tokenizer.encode(text).ids)


def test_ties_stay_in_order_and_one_choice_is_a_ranking(
    engine: Engine, vocabulary: Vocabulary, prompt: tuple[int, ...]
) -> None:
    tied = rank_choices(engine, vocabulary, prompt, TEXTS, calibration_prompt_token_ids=prompt)

    assert [choice.index for choice in tied] == list(range(len(TEXTS)))
    assert {choice.score for choice in tied} == {0.0}
    assert [choice.text for choice in rank_choices(engine, vocabulary, prompt, ["up"])] == ["up"]


@pytest.mark.parametrize(
    ("texts", "reason"), [([], "at least one"), (["a", "b", "a"], "different"), (["a", ""], "empty")], ids=str
)
def test_choices_that_cannot_be_ranked_are_refused(
    engine: Engine, vocabulary: Vocabulary, prompt: tuple[int, ...], texts: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        rank_choices(engine, vocabulary, prompt, texts)


def test_what_the_engine_cannot_serve_is_told(engine: Engine, vocabulary: Vocabulary, prompt: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="at least one token"):
        rank_choices(engine, vocabulary, (), ["a"])
    with pytest.raises(ConfigError, match="no adapter"):
        rank_choices(engine, vocabulary, prompt, ["a"], adapter="f" * 16)
