"""Pinned: steered samples follow p(x) exp(potential(x)) over the sentences, where samples token by token do not; the
evidence is unbiased; rounds, resampling and speculation change no distribution.

Exact values are enumerated: every token path of the grammar, a full float64 forward for each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from olal.errors import ConfigError
from olal.grammar import Vocabulary, choice_grammar, json_grammar, regex_grammar
from olal.inference import Engine
from olal.inference.smc import SteeredCompletions, SteeringParams, steer, systematic
from olal.inference.speculation.ngram import NgramDrafter
from olal.inference.transformers_engine import TransformersEngine
from olal.types import Completion, GenerateRequest, GrammarSpec, SamplingParams, ScoreRequest

Ask = Callable[..., list[GenerateRequest]]
Path = tuple[int, ...]

UNEVEN = regex_grammar("(x[0-9]|y[0-2]|z[a-c])[024]")
MILD = regex_grammar("x[0-9][ab]|y[0-2][a-c]")
LENGTHS = choice_grammar(["a", "ab", "left", "up", "é", "è"])
SUITS = choice_grammar(["☃", "☂", "♠", "♡"])  # two decisions within one character
TEXT = regex_grammar('"[a-e☃😀]{0,8}"')


@dataclass(frozen=True)
class Exact:
    """All paths of a grammar with what the oracle says of them."""

    paths: list[Path]
    model: NDArray[np.float64]
    local: NDArray[np.float64]

    @property
    def target(self) -> NDArray[np.float64]:
        return self.model / self.model.sum()


def enumerate_paths(vocabulary: Vocabulary, oracle: Any, request: GenerateRequest) -> Exact:
    paths: list[Path] = []
    stack: list[Path] = [request.prefix]
    while stack:
        prefix = stack.pop()
        state = vocabulary.state(request.grammar, prefix)
        if len(prefix) <= request.sampling.max_tokens and state.is_complete:
            paths.append(prefix)
        stack.extend((*prefix, int(token)) for token in state.legal if len(prefix) < request.sampling.max_tokens)
    model, local = [], []
    for path in paths:
        steps = oracle.steps(request.prompt_token_ids, request.grammar, path, request.sampling.temperature)
        chosen = [step.logprobs[step.legal.index(token)] for step, token in zip(steps, path, strict=True)]
        new = slice(len(request.prefix), None)
        local.append(sum(chosen[new]))
        model.append(local[-1] + sum(step.log_legal_mass for step in steps[new]))
    return Exact([path[len(request.prefix) :] for path in paths], np.exp(model), np.exp(local))


def fit(paths: list[Path], target: NDArray[np.float64], draws: Sequence[Path], weights: NDArray[np.float64]) -> float:
    """p-value of Wald's chi-square: do draws x_i with weights w_i satisfy E[w (1{x = a} - target(a))] = 0 for every a?

    That holds for any number of particles where (x, w) is properly weighted, and is Pearson's test where w is constant.
    """
    number = {path: index for index, path in enumerate(paths)}
    frequent = target * len(draws) >= 20
    frequent[np.where(frequent, target, 2).argmin()] = False
    cells = np.where(frequent, np.cumsum(frequent), 0)  # rare ones share cell 0 with one that is not
    expected = np.bincount(cells, target)
    seen = np.eye(len(expected))[[cells[number[path]] for path in draws]]
    terms = ((weights / weights.mean())[:, None] * (seen - expected))[:, 1:]  # they sum to zero: one says nothing
    mean = terms.mean(0)
    statistic = len(draws) * mean @ np.linalg.solve(np.cov(terms.T, bias=True), mean)
    return float(scipy.stats.chi2.sf(statistic, terms.shape[1]))


def many(request: GenerateRequest, count: int) -> list[GenerateRequest]:
    return [replace(request, seed=seed) for seed in range(count)]


def drawn(results: Sequence[SteeredCompletions]) -> tuple[list[Path], NDArray[np.float64]]:
    """One draw per result, properly weighted by its evidence."""
    return [r.draw(seed).token_ids for seed, r in enumerate(results)], np.exp([r.log_evidence for r in results])


@pytest.fixture
def transformers_engine(tiny_engine: Any, flat: Any, update_of: Any) -> Callable[..., TransformersEngine]:
    def make(**options: Any) -> TransformersEngine:
        engine = TransformersEngine(tiny_engine, **options)
        engine.load_adapter(update_of(5, flat))
        return engine

    return make


@pytest.mark.parametrize(
    ("grammar", "params"),
    [
        (UNEVEN, SteeringParams(4, resample_below=0.8)),
        (UNEVEN, SteeringParams(4, resample_below=1.0)),
        (UNEVEN, SteeringParams(4, resample_below=0.0, decisions_per_round=2)),
        (LENGTHS, SteeringParams(4, resample_below=0.9)),
    ],
    ids=["seldom", "always", "never", "lengths"],
)
def test_samples_follow_the_model_conditioned_on_the_grammar_where_masked_ones_do_not(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask, grammar: GrammarSpec, params: SteeringParams
) -> None:
    [request] = ask(grammar, temperature=2.0)
    exact = enumerate_paths(vocabulary, oracle, request)

    results = steer(engine, vocabulary, many(request, 1500), params)
    masked = [completion.token_ids for completion in engine.generate(many(request, 1500))]

    paths, weights = drawn(results)
    assert fit(exact.paths, exact.target, paths, weights) > 0.01
    assert fit(exact.paths, exact.target, masked, np.ones(1500)) < 1e-12
    assert fit(exact.paths, exact.local, masked, np.ones(1500)) > 0.01
    assert scipy.stats.ttest_1samp(weights, exact.model.sum()).pvalue > 0.01
    assert any(r.num_resamplings for r in results) == (params.resample_below > 0)


def preference(request: GenerateRequest, partials: Sequence[Completion]) -> list[float]:
    """Guides towards y, of which whole sentences have nothing left; and prefers fours in the end."""
    values = []
    for partial in partials:
        if partial.stop_reason == "grammar":
            values.append(2.0 * (partial.text[-1] == "4") - 1.0)
        else:
            values.append(3.0 * partial.text.startswith("y"))
    return values


def test_only_the_potential_of_whole_sentences_shapes_the_target(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask
) -> None:
    [request] = ask(UNEVEN, temperature=3.0)
    exact = enumerate_paths(vocabulary, oracle, request)
    fours = np.array([vocabulary.text(path[:-1])[-1] == "4" for path in exact.paths])
    wanted = exact.model * np.exp(2.0 * fours - 1.0)

    results = steer(engine, vocabulary, many(request, 1500), SteeringParams(4, resample_below=1.0), preference)

    paths, weights = drawn(results)
    assert fit(exact.paths, wanted / wanted.sum(), paths, weights) > 0.01
    assert fit(exact.paths, exact.target, paths, weights) < 1e-6
    assert scipy.stats.ttest_1samp(weights, wanted.sum()).pvalue > 0.01


def test_many_particles_come_near_the_target_and_its_evidence(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask
) -> None:
    [request] = ask(MILD, temperature=2.0)
    exact = enumerate_paths(vocabulary, oracle, request)

    [result] = steer(engine, vocabulary, [request], SteeringParams(4000))

    shares: Counter[Path] = Counter()
    for completion, share in zip(result.completions, result.probabilities, strict=True):
        shares[completion.token_ids] += share
    distance = sum(abs(shares[path] - wanted) for path, wanted in zip(exact.paths, exact.target, strict=True)) / 2
    assert distance < 0.05 < np.abs(exact.local - exact.target).sum() / 2
    assert result.log_evidence == pytest.approx(np.log(exact.model.sum()), abs=0.1)


def test_a_weight_is_the_model_s_probability_over_that_of_the_draw(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask
) -> None:
    requests = ask(json_grammar({"enum": ["left", "right"]}), range(8), temperature=0.7)

    results = steer(engine, vocabulary, requests, SteeringParams(2, resample_below=0.0))

    for request, result in zip(requests, results, strict=True):
        for completion, log_weight in zip(result.completions, result.log_weights, strict=True):
            steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, 0.7)
            assert log_weight == pytest.approx(sum(step.log_legal_mass for step in steps), abs=1e-4)
            assert sum(completion.log_legal_mass) > log_weight + 1  # forced tokens weigh too
        size = 1 / np.square(result.probabilities).sum()
        assert result.effective_sizes[-1] == pytest.approx(size)


@pytest.mark.parametrize("decisions_per_round", [1, 2, 5])
def test_merged_rounds_are_one_completion(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, tokenizer: Any, ask: Ask, decisions_per_round: int
) -> None:
    [request] = ask(TEXT, [3], temperature=5.0)

    [result] = steer(engine, vocabulary, [request], SteeringParams(40, 0.03, decisions_per_round))

    for completion in result.completions:
        columns = (completion.logprobs, completion.forced, completion.log_legal_mass)
        assert {len(column) for column in columns} == {len(completion.token_ids)}
        steps = oracle.steps(request.prompt_token_ids, TEXT, completion.token_ids, 5.0)
        expected = [
            step.logprobs[step.legal.index(token)] for step, token in zip(steps, completion.token_ids, strict=True)
        ]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert completion.text == tokenizer.decode(completion.token_ids[:-1])
        assert (completion.stop_reason, completion.adapter_version) == ("grammar", 5)
    assert any(set(c.text) & set("☃😀") for c in result.completions)


def test_characters_that_a_round_cut_are_whole_again(engine: Engine, vocabulary: Vocabulary, ask: Ask) -> None:
    [result] = steer(engine, vocabulary, ask(SUITS, temperature=9.0), SteeringParams(40, resample_below=0.0))

    assert len(result.effective_sizes) == 2
    assert {completion.text for completion in result.completions} == {"☃", "☂", "♠", "♡"}


def test_weights_are_those_of_the_request_s_own_adapter(
    engine: Engine, vocabulary: Vocabulary, ask: Ask, flat: Any, update_of: Any, make_oracle: Any
) -> None:
    other = flat * 0.5
    engine.load_adapter(update_of(6, other), is_current=False)
    request = replace(ask(UNEVEN)[0], adapter=update_of(6, other).digest)

    [result] = steer(engine, vocabulary, [request], SteeringParams(8, resample_below=0.0))

    for completion, log_weight in zip(result.completions, result.log_weights, strict=True):
        steps = make_oracle(other).steps(request.prompt_token_ids, UNEVEN, completion.token_ids, 1.0)
        assert log_weight == pytest.approx(sum(step.log_legal_mass for step in steps), abs=1e-4)
        assert completion.adapter_version == 6


def test_copies_of_a_particle_go_separate_ways(engine: Engine, vocabulary: Vocabulary, ask: Ask) -> None:
    [request] = ask(regex_grammar("[a-z]{12}"), temperature=5.0)

    [result] = steer(engine, vocabulary, [request], SteeringParams(32, resample_below=1.0))
    [again] = steer(engine, vocabulary, [request], SteeringParams(32, resample_below=1.0))

    assert result.num_resamplings > 5
    assert len({c.text for c in result.completions}) > 24
    assert len({c.text[:2] for c in result.completions}) < 20  # of a few ancestors
    assert result == again


def test_speculation_changes_nothing(
    transformers_engine: Callable[..., TransformersEngine], vocabulary: Vocabulary, ask: Ask
) -> None:
    moves = regex_grammar(r'\{"moves":\["(left|right)"(,"(left|right)"){3,7}\]\}')
    requests = [*ask(moves, range(4)), *ask(TEXT, range(4))]
    params = SteeringParams(8, decisions_per_round=4)
    plain = steer(transformers_engine(), vocabulary, requests, params)

    drafted = steer(transformers_engine(drafter=NgramDrafter(num_remembered=64)), vocabulary, requests, params)

    for one, other in zip(plain, drafted, strict=True):
        assert [c.token_ids for c in one.completions] == [c.token_ids for c in other.completions]
        assert one.log_weights == pytest.approx(other.log_weights, abs=1e-4)
        assert one.num_resamplings == other.num_resamplings
    assert sum(sum(c.drafts.accepted) for result in drafted for c in result.completions) > 10
    assert sum(sum(c.drafts.accepted) for result in plain for c in result.completions) == 0


class CountingEngine:
    """Writes down how many requests each call brings."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batches: list[int] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        self.batches.append(len(requests))
        return self._engine.generate(requests)

    def score(self, requests: Sequence[ScoreRequest]) -> Any:
        assert len(set(requests)) == len(requests)
        return self._engine.score(requests)


def test_all_particles_of_all_requests_share_the_batches(engine: Any, vocabulary: Vocabulary, ask: Ask) -> None:
    requests = [*ask(UNEVEN, range(5)), *ask(choice_grammar(["left"]), [5])]
    counting: Any = CountingEngine(engine)

    together = steer(counting, vocabulary, requests, SteeringParams(6))

    assert counting.batches == [36, 30, 27]  # what is whole is not asked for again
    assert together[-1].log_evidence < 0
    for request, result in zip(requests, together, strict=True):
        [alone] = steer(engine, vocabulary, [request], SteeringParams(6))
        assert [c.token_ids for c in alone.completions] == [c.token_ids for c in result.completions]
        assert alone.log_weights == pytest.approx(result.log_weights, abs=1e-4)


def test_what_is_wrong_with_one_request_is_told_in_its_result(engine: Engine, vocabulary: Vocabulary, ask: Ask) -> None:
    good = ask(UNEVEN, range(2))
    bad = replace(good[0], grammar=regex_grammar("("))
    lost = replace(good[0], adapter="f" * 16)
    expected = steer(engine, vocabulary, good, SteeringParams(4))

    first, refused, unknown, second = steer(engine, vocabulary, [good[0], bad, lost, good[1]], SteeringParams(4))

    assert [r.log_weights for r in (first, second)] == [pytest.approx(r.log_weights, abs=1e-4) for r in expected]
    assert "compile" in refused.error
    assert "no adapter" in unknown.error
    assert refused.completions == ()
    assert math.isnan(refused.log_evidence)
    with pytest.raises(ConfigError, match="compile"):
        refused.draw(0)


def test_sentences_beyond_the_length_have_no_weight(
    engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask
) -> None:
    [request] = ask(choice_grammar(["a", "b", "lake row", "left right up"]), temperature=5.0, max_tokens=3)
    exact = enumerate_paths(vocabulary, oracle, request)
    assert 2 <= len(exact.paths) < len(enumerate_paths(vocabulary, oracle, ask(request.grammar)[0]).paths)

    results = steer(engine, vocabulary, many(request, 800), SteeringParams(4, resample_below=0.0))

    cut = [
        (c, w) for r in results for c, w in zip(r.completions, r.log_weights, strict=True) if c.stop_reason == "length"
    ]
    alive = [r for r in results if not r.error]
    assert len(cut) > 100
    assert {weight for _, weight in cut} == {-math.inf}
    assert {r.draw(0).stop_reason for r in alive} == {"grammar"}
    assert {r.log_evidence for r in results if r.error} == {-math.inf}
    evidence = np.exp([r.log_evidence for r in results])
    assert scipy.stats.ttest_1samp(evidence, exact.model.sum()).pvalue > 0.01


def test_a_potential_can_forbid(engine: Engine, vocabulary: Vocabulary, ask: Ask) -> None:
    requests = ask(UNEVEN, range(6), temperature=3.0)

    def without_x(_: GenerateRequest, partials: Sequence[Completion]) -> list[float]:
        return [-math.inf if partial.text.startswith("x") else 0.0 for partial in partials]

    def nothing(_: GenerateRequest, partials: Sequence[Completion]) -> list[float]:
        return [-math.inf] * len(partials)

    results = steer(engine, vocabulary, requests, SteeringParams(16), without_x)
    assert all(not result.draw(seed).text.startswith("x") for result in results for seed in range(10))
    [dead] = steer(engine, vocabulary, requests[:1], SteeringParams(16), nothing)
    assert (dead.log_evidence, dead.effective_sizes) == (-math.inf, (0.0,))
    assert "no particle ended a sentence" in dead.error


def test_a_prefix_counts_as_given(engine: Engine, vocabulary: Vocabulary, oracle: Any, ask: Ask) -> None:
    [request] = ask(UNEVEN, temperature=2.0)
    whole = enumerate_paths(vocabulary, oracle, request)
    request = replace(request, prefix=whole.paths[0][:1])
    exact = enumerate_paths(vocabulary, oracle, request)
    assert len(exact.paths) < len(whole.paths)

    [result] = steer(engine, vocabulary, [request], SteeringParams(2000))

    assert {c.token_ids for c in result.completions} <= set(exact.paths)
    assert result.log_evidence == pytest.approx(np.log(exact.model.sum()), abs=0.1)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": SamplingParams(temperature=0)},
        {"sampling": SamplingParams(top_k=3)},
        {"sampling": SamplingParams(top_p=0.9)},
        {"max_decisions": 3},
        {"deadline_s": 1.0},
    ],
    ids=str,
)
def test_what_has_no_defined_target_is_refused(
    engine: Engine, vocabulary: Vocabulary, ask: Ask, change: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"temperature|max_decisions"):
        steer(engine, vocabulary, [replace(ask(UNEVEN)[0], **change)])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_potential_that_is_no_number_is_refused(
    engine: Engine, vocabulary: Vocabulary, ask: Ask, value: float
) -> None:
    with pytest.raises(ConfigError, match="log-potential"):
        steer(engine, vocabulary, ask(UNEVEN), potential=lambda _, partials: [value] * len(partials))


@pytest.mark.parametrize(
    "options", [{"num_particles": 0}, {"resample_below": 1.5}, {"decisions_per_round": 0}], ids=str
)
def test_parameters_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SteeringParams(**options)


def test_what_has_no_weight_is_never_chosen() -> None:
    assert systematic(np.array([0.0, 1.0, 0.0]), 0.0).tolist() == [1, 1, 1]
    assert systematic(np.array([0.0, 1.0, 0.0]), 1.0 - 2.0**-53).tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any), st.integers(0, 999))
def test_systematic_resampling_rounds_every_share_up_or_down(shares: list[int], place: int) -> None:
    probabilities = np.array(shares) / sum(shares)
    count = len(shares)

    grid = [systematic(probabilities, (k + place / 1000) / 200) for k in range(200)]

    for chosen in grid:
        times = np.bincount(chosen, minlength=count)
        assert times.sum() == count
        assert (np.abs(times - count * probabilities) < 1 + 1e-9).all()
        assert not times[probabilities == 0].any()
    mean = np.mean([np.bincount(chosen, minlength=count) for chosen in grid], axis=0)
    assert np.abs(mean - count * probabilities).max() <= 2 / 200  # unbiased over the uniform number
