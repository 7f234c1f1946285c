"""Exact on vLLM: log-probabilities under LoRA, many adapters in one batch, the greedy choice, the distribution itself,
the completions of the transformers engine, and scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.grammar import choice_grammar, json_grammar, lark_grammar, regex_grammar
from olal.inference.transformers_engine import TransformersEngine
from olal.inference.vllm import scoring
from olal.inference.vllm.engine import VllmEngine
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Completion, GenerateRequest, SamplingParams, Score, ScoreRequest

Ask = Callable[..., list[GenerateRequest]]
Gap = Callable[[Any, GenerateRequest, Completion], float]

MOVES = regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}')
GRAMMARS = [
    MOVES,
    choice_grammar(["é", "è", "☃", "😀", "😁"]),
    regex_grammar(r'"[^"\\\x00-\x1f]{0,12}"'),
    lark_grammar('start: pair+\npair: "(" pair* ")"'),
    json_grammar({"type": "array", "items": {"enum": ["left", "right"]}, "minItems": 1, "maxItems": 3}),
]
SAMPLINGS = [
    SamplingParams(1.0, 24),
    SamplingParams(0.0, 24),
    SamplingParams(0.7, 24, top_k=3),
    SamplingParams(2.0, 24, top_p=0.8),
    SamplingParams(1.3, 24, top_k=20, top_p=0.6),
]


@pytest.fixture
def population(
    vllm: VllmEngine, tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray], update_of: Callable[..., Any]
) -> list[AdapterUpdate]:
    """Sixteen adapters beside the current one."""
    updates = [update_of(20 + v, random_flat(tiny_engine, seed=500 + v)) for v in range(16)]
    for update in updates:
        vllm.load_adapter(update, is_current=False)
    return updates


def mixed(ask: Ask, adapters: Sequence[str | None]) -> list[GenerateRequest]:
    """Every grammar under every sampling, the adapters in turn."""
    requests = [
        replace(ask(grammar, [seed], prompt=prompt)[0], sampling=sampling)
        for grammar in GRAMMARS
        for sampling in SAMPLINGS
        for seed, prompt in enumerate(["lake row=0 col=0\n", "grid x=1 y=2 facing north\n" * 5])
    ]
    return [replace(request, adapter=adapters[i % len(adapters)]) for i, request in enumerate(requests)]


def test_sixteen_adapters_in_one_batch_are_each_their_own_model(
    vllm: VllmEngine,
    population: list[AdapterUpdate],
    ask: Ask,
    make_oracle: Callable[[np.ndarray], Any],
    worst_gap: Gap,
    scheduled: list[int],
) -> None:
    requests = [replace(ask(MOVES, [seed])[0], adapter=update.digest) for seed, update in enumerate(population)]

    completions = vllm.generate(requests)

    assert len(scheduled) == max(completion.num_passes for completion in completions)
    for update, request, completion in zip(population, requests, completions, strict=True):
        assert completion.adapter_version == update.version
        assert worst_gap(make_oracle(update.flat), request, completion) < 1e-4
    assert len({completion.text for completion in completions}) > 8


def test_the_greedy_choice_is_the_most_likely_token(vllm: VllmEngine, ask: Ask, oracle: Any) -> None:
    requests = [one for grammar in GRAMMARS for one in ask(grammar, temperature=0.0)]

    for request, completion in zip(requests, vllm.generate(requests), strict=True):
        steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, 0.0)
        assert [step.legal[int(np.argmax(step.logprobs))] for step in steps] == [*completion.token_ids]
        assert set(completion.logprobs) == {0.0}


@pytest.mark.parametrize("temperature", [0.7, 2.0])
def test_samples_follow_the_exact_distribution(
    vllm: VllmEngine, ask: Ask, p_value: Callable[..., float], temperature: float
) -> None:
    requests = ask(choice_grammar(["a", "ab", "left", "leap", "up", "é", "è"]), range(3000), temperature=temperature)

    assert p_value(requests[0], vllm.generate(requests)) > 0.01


def test_the_same_seed_gives_the_completion_of_the_transformers_engine(
    vllm: VllmEngine,
    population: list[AdapterUpdate],
    tiny_engine: PolicyNetwork,
    flat: np.ndarray,
    update_of: Callable[..., AdapterUpdate],
    ask: Ask,
) -> None:
    other = TransformersEngine(tiny_engine)
    other.load_adapter(update_of(5, flat))
    for update in population:
        other.load_adapter(update, is_current=False)
    requests = mixed(ask, [None, *(update.digest for update in population)])

    for ours, theirs in zip(vllm.generate(requests), other.generate(requests), strict=True):
        assert ours.token_ids == theirs.token_ids
        assert (ours.stop_reason, ours.forced, ours.adapter_version, ours.num_passes) == (
            theirs.stop_reason,
            theirs.forced,
            theirs.adapter_version,
            theirs.num_passes,
        )
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert ours.log_legal_mass == pytest.approx(theirs.log_legal_mass, abs=1e-4)


def test_pauses_and_prefixes_join_to_the_whole_completion(vllm: VllmEngine, ask: Ask) -> None:
    requests = mixed(ask, [None])
    requests = [request for request in requests if request.sampling.top_p == 1.0]

    for request, whole in zip(requests, vllm.generate(requests), strict=True):
        parts: list[Completion] = []
        prefix: tuple[int, ...] = ()
        while not parts or parts[-1].stop_reason == "paused":
            [part] = vllm.generate([replace(request, prefix=prefix, max_decisions=2)])
            prefix = (*prefix, *part.token_ids)
            parts.append(part)
        assert prefix == whole.token_ids
        assert parts[-1].stop_reason == whole.stop_reason
        assert [lp for part in parts for lp in part.logprobs] == pytest.approx(whole.logprobs, abs=1e-4)


def scores_of(completions: Sequence[Completion], requests: Sequence[GenerateRequest]) -> list[ScoreRequest]:
    return [
        ScoreRequest(request.prompt_token_ids, completion.token_ids, request.grammar, request.sampling, request.adapter)
        for request, completion in zip(requests, completions, strict=True)
    ]


@pytest.mark.parametrize("most_logits", [1 << 22, 1000])
def test_a_completion_scored_is_the_completion_sampled(
    vllm: VllmEngine,
    population: list[AdapterUpdate],
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    most_logits: int,
) -> None:
    monkeypatch.setattr(scoring, "_MOST_LOGITS", most_logits)
    requests = mixed(ask, [None, *(update.digest for update in population)])
    completions = vllm.generate(requests)

    for score, completion in zip(vllm.score(scores_of(completions, requests)), completions, strict=True):
        assert (score.error, score.forced) == ("", completion.forced)
        assert score.logprobs == pytest.approx(completion.logprobs, abs=1e-4)
        assert score.log_legal_mass == pytest.approx(completion.log_legal_mass, abs=1e-4)


def test_a_plain_score_is_the_models_own_over_the_vocabulary(
    vllm: VllmEngine, tiny_engine: PolicyNetwork, flat: np.ndarray, update_of: Callable[..., AdapterUpdate], ask: Ask
) -> None:
    other = TransformersEngine(tiny_engine)
    other.load_adapter(update_of(5, flat))
    requests = mixed(ask, [None])
    wanted = [replace(one, grammar=None) for one in scores_of(vllm.generate(requests), requests)]
    wanted += [ScoreRequest((), (1,)), ScoreRequest((5,), (1, 10_000)), ScoreRequest((5,), (1, 2), adapter="f" * 16)]

    ours, theirs = vllm.score(wanted), other.score(wanted)

    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.forced == reference.forced
        assert mine.log_legal_mass == pytest.approx(reference.log_legal_mass, abs=1e-9)
        assert mine.error[:20] == reference.error[:20]
        assert mine.logprobs == pytest.approx(reference.logprobs, abs=1e-4)
    assert [bool(score.error) for score in ours[-3:]] == [True] * 3


def test_scoring_between_steps_changes_no_completion(vllm: VllmEngine, ask: Ask) -> None:
    requests = ask(GRAMMARS[2], range(12))
    expected = vllm.generate(requests)
    wanted = scores_of(expected, requests)
    ids = [vllm.submit(request) for request in requests]
    answers: dict[int, Completion] = {}
    scores: list[Score] = []
    while vllm.num_unfinished:
        answers.update(vllm.step())
        scores = vllm.score(wanted[:3])

    assert [answers[i].token_ids for i in ids] == [completion.token_ids for completion in expected]
    assert scores[0].logprobs == pytest.approx(expected[0].logprobs, abs=1e-4)
