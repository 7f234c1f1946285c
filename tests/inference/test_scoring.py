"""Pinned: teacher-forced probabilities equal the oracle's, with and without a grammar, for requests of several adapters
in one batch; what requests share, and what the engine has computed already, is not run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.grammar import choice_grammar, regex_grammar
from olal.inference import Engine
from olal.inference.sampler import legal_distribution
from olal.inference.transformers_engine import TransformersEngine
from olal.models.policy_network import PolicyNetwork
from olal.types import GenerateRequest, GrammarSpec, SamplingParams, Score, ScoreRequest

Ask = Callable[..., list[GenerateRequest]]

MOVES = regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}')
TEXT = regex_grammar(r'"[^"\\\x00-\x1f]{0,12}"')


class CountingNetwork(PolicyNetwork):
    """Counts the rows and tokens of every pass."""

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__(network.base, network.bank)
        self.passes: list[list[int]] = []

    def extend(self, past: Any, new: Sequence[Sequence[int]], wanted: Any = None) -> Any:
        self.passes.append([len(tokens) for tokens in new])
        return super().extend(past, new, wanted)


@pytest.fixture
def network(tiny_engine: PolicyNetwork) -> CountingNetwork:
    return CountingNetwork(tiny_engine)


@pytest.fixture
def sampled(engine: Engine, ask: Ask) -> list[ScoreRequest]:
    """Sentences of two grammars after two prompts, to be scored."""
    asked = [*ask(MOVES, range(5)), *ask(TEXT, range(5), prompt="grid x=1 y=2 facing north\n")]
    return [
        ScoreRequest(request.prompt_token_ids, completion.token_ids, request.grammar)
        for request, completion in zip(asked, engine.generate(asked), strict=True)
    ]


def expected_score(oracle: Any, request: ScoreRequest) -> tuple[list[float], list[bool], list[float]]:
    """Log-probabilities, forced flags and legal masses; without a grammar no mass and nothing forced."""
    temperature = request.sampling.temperature
    if request.grammar is None:
        logprobs = oracle.logprobs(request.prompt_token_ids, request.token_ids, temperature)
        return logprobs, [False] * len(logprobs), [0.0] * len(logprobs)
    steps = oracle.steps(request.prompt_token_ids, request.grammar, request.token_ids, temperature)
    forced = [len(step.legal) == 1 for step in steps]
    logprobs = [step.logprobs[step.legal.index(token)] for step, token in zip(steps, request.token_ids, strict=True)]
    masses = [0.0 if is_forced else step.log_legal_mass for step, is_forced in zip(steps, forced, strict=True)]
    return logprobs, forced, masses


def check(score: Score, expected: tuple[list[float], list[bool], list[float]]) -> None:
    assert score.error == ""
    assert score.logprobs == pytest.approx(expected[0], abs=1e-4)
    assert list(score.forced) == expected[1]
    assert score.log_legal_mass == pytest.approx(expected[2], abs=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_scores_are_the_oracle_s_with_and_without_a_grammar(
    engine: Engine, oracle: Any, sampled: list[ScoreRequest], temperature: float
) -> None:
    masked = [replace(request, sampling=SamplingParams(temperature)) for request in sampled]
    plain = [replace(request, grammar=None) for request in masked]
    cut = [replace(request, token_ids=request.token_ids[:4]) for request in masked]

    requests = [*masked, *plain, *cut]
    for request, score in zip(requests, engine.score(requests), strict=True):
        check(score, expected_score(oracle, request))


def test_adapters_share_a_batch_and_nothing_else(
    engine: Engine, sampled: list[ScoreRequest], flat: Any, update_of: Any, make_oracle: Any
) -> None:
    flats = {update_of(6 + i, flat * scale).digest: flat * scale for i, scale in enumerate((0.5, 0.0))}
    for version, values in enumerate(flats.values(), 6):
        engine.load_adapter(update_of(version, values), is_current=False)
    digests = [*flats, None]
    requests = [replace(r, adapter=digests[i % 3], grammar=r.grammar if i % 2 else None) for i, r in enumerate(sampled)]

    for request, score in zip(requests, engine.score(requests), strict=True):
        oracle = make_oracle(flat if request.adapter is None else flats[request.adapter])
        check(score, expected_score(oracle, request))


@pytest.mark.parametrize(
    "sampling",
    [SamplingParams(2.0, top_k=2), SamplingParams(top_p=0.6), SamplingParams(2.0, top_k=4, top_p=0.9)],
    ids=str,
)
@pytest.mark.parametrize("grammar", [MOVES, None], ids=["masked", "plain"])
def test_a_token_that_a_cut_excludes_has_no_probability(
    engine: Engine, oracle: Any, sampled: list[ScoreRequest], sampling: SamplingParams, grammar: GrammarSpec | None
) -> None:
    requests = [replace(request, sampling=sampling, grammar=grammar) for request in sampled[:5]]

    scores = engine.score(requests)

    excluded = 0
    for request, score in zip(requests, scores, strict=True):
        rows = oracle.plain(request.prompt_token_ids, request.token_ids).astype(np.float32)
        steps = oracle.steps(request.prompt_token_ids, MOVES, request.token_ids, 1.0)
        for t, token in enumerate(request.token_ids):
            legal = None if grammar is None else np.array(steps[t].legal)
            wanted = legal_distribution(rows[t], legal, sampling).logprob(token)
            assert score.logprobs[t] == pytest.approx(wanted, abs=1e-4)
            excluded += wanted == -math.inf
    assert excluded > 0


def test_greedy_tokens_are_certain_and_others_impossible(engine: Engine, ask: Ask) -> None:
    [request] = ask(MOVES, temperature=0.0)
    [greedy] = engine.generate([request])
    [other] = engine.generate([replace(request, sampling=SamplingParams(5.0))])
    assert other.token_ids != greedy.token_ids

    mine, theirs = engine.score(
        [ScoreRequest(request.prompt_token_ids, c.token_ids, MOVES, request.sampling) for c in (greedy, other)]
    )

    assert set(mine.logprobs) == {0.0}
    assert mine.log_legal_mass == pytest.approx(greedy.log_legal_mass, abs=1e-4)
    assert set(theirs.logprobs) == {0.0, -math.inf}


def test_what_is_wrong_with_one_request_is_told_in_its_score(engine: Engine, sampled: list[ScoreRequest]) -> None:
    good = sampled[:4]
    expected = engine.score(good)
    wrong = {
        "at least one token": replace(good[0], prompt_token_ids=()),
        "the model holds": replace(good[0], prompt_token_ids=(5,) * 5000),
        "must be below": replace(good[0], token_ids=(5, 410)),
        "compile": replace(good[0], grammar=regex_grammar("(")),
        "no adapter": replace(good[0], adapter="f" * 16),
        "not legal at position 1|forbids": replace(good[0], token_ids=(good[0].token_ids[0], 3, 3)),
    }

    answers = engine.score([*good[:2], *wrong.values(), *good[2:]])

    for score, before in zip([*answers[:2], *answers[-2:]], expected, strict=True):
        assert score.logprobs == pytest.approx(before.logprobs, abs=1e-4)
    for reason, score in zip(wrong, answers[2:-2], strict=True):
        assert any(part in score.error for part in reason.split("|")), score.error
        assert (score.logprobs, score.forced, score.log_legal_mass) == ((), (), ())
        assert "\n" not in score.error


def test_nothing_to_score_is_no_score(engine: Engine, sampled: list[ScoreRequest]) -> None:
    assert engine.score([]) == []
    assert engine.score([replace(sampled[0], token_ids=())]) == [Score((), (), ())]


def test_shared_beginnings_are_run_once(network: CountingNetwork, sampled: list[ScoreRequest]) -> None:
    sequences = [(*request.prompt_token_ids, *request.token_ids)[:-1] for request in sampled]
    distinct = {sequence[: n + 1] for sequence in sequences for n in range(len(sequence))}
    network.passes.clear()

    TransformersEngine(network).score([replace(request, grammar=None) for request in [*sampled, *sampled]])

    assert sum(map(sum, network.passes)) == len(distinct) < sum(map(len, sequences))


def test_forced_tokens_alone_cost_nothing(network: CountingNetwork, ask: Ask) -> None:
    grammar = choice_grammar(["left right forward"])
    [request], engine = ask(grammar), TransformersEngine(network)
    [completion] = engine.generate([request])

    [score] = engine.score([ScoreRequest(request.prompt_token_ids, completion.token_ids, grammar)])

    assert set(score.logprobs) == {0.0}
    assert network.passes == []


def test_contexts_of_the_engine_are_continued(network: CountingNetwork, ask: Ask) -> None:
    engine = TransformersEngine(network)
    [request] = ask(choice_grammar(["left", "right"]))  # decides right after the prompt
    [completion] = engine.generate(ask(MOVES))
    engine.generate([request])
    network.passes.clear()

    engine.score([ScoreRequest(request.prompt_token_ids, completion.token_ids, MOVES)])

    assert sum(map(sum, network.passes)) == len(completion.token_ids) - 1


@pytest.mark.parametrize("width", [1, 3])
def test_no_pass_is_wider_than_the_batch(network: CountingNetwork, sampled: list[ScoreRequest], width: int) -> None:
    expected = TransformersEngine(network).score(sampled)
    network.passes.clear()

    scores = TransformersEngine(network, max_batch=width).score(sampled)

    assert max(map(len, network.passes)) == width
    for score, wanted in zip(scores, expected, strict=True):
        assert score.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
