"""Pinned: temperature and cuts equal a slow reference; draws follow the distribution; the noise is uniform and
independent over seeds, positions and tokens, and belongs to the token alone.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from olal.inference import sampler
from olal.inference.sampler import LegalDistribution, draw, legal_distribution, noise_key
from olal.types import SamplingParams


def reference(
    logits: list[float], legal: list[int], temperature: float, top_k: int, top_p: float
) -> dict[int, tuple[float, int]]:
    """Probabilities of the tokens that are left, one loop per sentence of the contract."""
    weights = {token: math.exp(logits[token] / temperature) for token in legal}
    total = math.fsum(weights.values())
    left = {token: weight / total for token, weight in weights.items()}
    if top_k:
        threshold = sorted(left.values(), reverse=True)[:top_k][-1]
        left = {token: p for token, p in left.items() if p >= threshold}
        total = math.fsum(left.values())
        left = {token: p / total for token, p in left.items()}
    held, threshold = 0.0, 0.0
    for p in sorted(left.values(), reverse=True):
        held, threshold = held + p, p
        if held >= top_p:
            break
    left = {token: p for token, p in left.items() if p >= threshold}
    total = math.fsum(left.values())
    return {token: p / total for token, p in left.items()}


# Quarters make ties, and these shares are met by no sum of tied tokens.
@given(
    st.lists(st.integers(-12, 12), min_size=2, max_size=14),
    st.randoms(use_true_random=False),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.sampled_from([0, 1, 2, 5, 50]),
    st.sampled_from([0.0137, 0.3711, 0.6133, 0.9371, 1.0]),
)
def test_the_distribution_is_the_reference_s(values, random, temperature, top_k, top_p) -> None:
    logits = [value / 4 for value in values]
    legal = sorted(random.sample(range(len(logits)), random.randint(1, len(logits))))
    expected = reference(logits, legal, temperature, top_k, top_p)

    got = legal_distribution(
        np.array(logits, np.float32), np.array(legal), SamplingParams(temperature, top_k=top_k, top_p=top_p)
    )

    assert got.ids.tolist() == list(expected)
    assert np.exp(got.logprobs) == pytest.approx(list(expected.values()), rel=1e-9)
    everything = [math.exp(value / temperature) for value in logits]
    mass = math.fsum(everything[token] for token in legal) / math.fsum(everything)
    assert got.log_legal_mass == pytest.approx(math.log(mass), abs=1e-9)
    for token in range(len(logits)):
        assert math.exp(got.logprob(token)) == pytest.approx(expected.get(token, 0.0), rel=1e-9)


def test_without_a_legal_set_every_token_may_be_drawn() -> None:
    logits = np.array([0.5, -1.0, 2.0], np.float32)

    free, legal = (legal_distribution(logits, ids, SamplingParams()) for ids in (None, np.arange(3)))

    assert free.ids.tolist() == [0, 1, 2]
    assert free.logprobs.tolist() == legal.logprobs.tolist()
    assert free.log_legal_mass == 0.0


@pytest.mark.parametrize("distance", [50.0, 5_000.0, 1e30])
def test_legal_tokens_far_below_the_best_keep_their_proportions(distance: float) -> None:
    logits = np.array([distance, 1.0, 2.0, 2.0], np.float32)

    got = legal_distribution(logits, np.array([1, 2]), SamplingParams())

    assert np.exp(got.logprobs) == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert got.log_legal_mass == pytest.approx(math.log(math.e + math.e**2) - distance)


def test_temperature_zero_leaves_the_first_of_the_best_with_certainty() -> None:
    logits = np.array([9.0, 1.0, 3.0, 3.0, -2.0], np.float32)

    got = legal_distribution(logits, np.array([1, 2, 3, 4]), SamplingParams(temperature=0, top_k=3, top_p=0.5))

    assert (got.ids.tolist(), got.logprobs.tolist()) == ([2], [0.0])
    assert got.log_legal_mass == legal_distribution(logits, np.array([1, 2, 3, 4]), SamplingParams()).log_legal_mass
    assert {draw(got, noise_key(seed), 0) for seed in range(20)} == {(2, 0.0)}
    assert got.logprob(3) == -math.inf


def some_distribution(size: int, *, spread: float = 1.5) -> LegalDistribution:
    logits = np.random.default_rng(3).normal(0, spread, size).astype(np.float32)
    return legal_distribution(logits, np.arange(size), SamplingParams())


@pytest.mark.parametrize("along", ["seeds", "positions"])
def test_draws_follow_the_distribution(along: str) -> None:
    distribution, count = some_distribution(12), 20_000

    seen = Counter(
        draw(distribution, noise_key(i if along == "seeds" else 5), 3 if along == "seeds" else i) for i in range(count)
    )

    assert all(logprob == distribution.logprob(token) for token, logprob in seen)
    by_token = Counter({token: times for (token, _), times in seen.items()})
    expected = np.exp(distribution.logprobs) * count
    assert scipy.stats.chisquare([by_token[token] for token in range(12)], expected).pvalue > 0.01


def exponentials(key: int, position: int, ids: np.ndarray) -> np.ndarray:
    return sampler._exponentials(np.repeat(sampler._streams([key], [position]), len(ids)), ids)


def uniforms(key: int, position: int, ids: np.ndarray) -> np.ndarray:
    return np.exp(-exponentials(key, position, ids))


def test_noise_is_uniform_and_independent_over_seeds_positions_and_tokens() -> None:
    tokens = np.arange(64)
    cube = np.array(
        [[uniforms(noise_key(seed), position, tokens) for position in range(40)] for seed in range(40)]
    )  # seed, position, token

    assert scipy.stats.kstest(cube.ravel(), "uniform").pvalue > 0.01
    assert len(np.unique(cube)) == cube.size
    for axis in range(3):
        before, after = np.delete(cube, -1, axis).ravel(), np.delete(cube, 0, axis).ravel()
        table, *_ = np.histogram2d(before, after, bins=10, range=[[0, 1], [0, 1]])
        assert scipy.stats.chisquare(table.ravel()).pvalue > 0.01
        means = cube.mean(axis=tuple(other for other in range(3) if other != axis))
        scale = math.sqrt(1 / 12 / (cube.size / cube.shape[axis]))
        assert scipy.stats.kstest((means - 0.5) / scale, "norm").pvalue > 0.01


def test_noise_of_real_token_ids_and_long_texts_is_uniform() -> None:
    ids = np.random.default_rng(0).choice(150_000, 2_000, replace=False)
    sample = np.concatenate([uniforms(noise_key(2**70 + 1), position, ids) for position in (0, 1, 9_999)])

    assert scipy.stats.kstest(sample, "uniform").pvalue > 0.01
    assert 0 < sample.min() < sample.max() < 1


def test_noise_belongs_to_the_token_whoever_else_is_legal() -> None:
    ids = np.array([3, 70, 409])

    assert uniforms(7, 2, ids).tolist() == [uniforms(7, 2, ids[i : i + 1])[0] for i in range(3)]
    whole = some_distribution(30)
    for seed in range(200):
        winner, _ = draw(whole, noise_key(seed), 0)
        kept = np.array(sorted({winner, *np.random.default_rng(seed).choice(30, 8)}))
        fewer = LegalDistribution(kept, whole.logprobs[kept], 0.0)
        assert draw(fewer, noise_key(seed), 0)[0] == winner


def test_tokens_too_far_behind_to_win_are_left_out_without_changing_a_draw() -> None:
    distribution = some_distribution(4_000, spread=30.0)
    assert (distribution.logprobs < distribution.logprobs.max() - sampler._NOISE_RANGE).sum() > 1_000

    for seed in range(200):
        key = noise_key(seed)
        times = distribution.logprobs - np.log(exponentials(key, 4, distribution.ids))
        assert draw(distribution, key, 4)[0] == int(times.argmax())


def test_noise_is_finite_and_within_its_range_for_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array([0, 1, 2**12 - 1, 2**63, 2**64 - 2**11, 2**64 - 1], np.uint64)
    monkeypatch.setattr(sampler, "_mix", lambda _: words)

    noise = -np.log(sampler._exponentials(words, np.arange(len(words))))

    assert np.isfinite(noise).all()
    assert noise.max() - noise.min() <= sampler._NOISE_RANGE


@given(st.lists(st.integers(-(2**200), 2**200), unique=True, min_size=2, max_size=8))
def test_seeds_of_any_size_have_keys_of_their_own(seeds: list[int]) -> None:
    keys = [noise_key(seed) for seed in seeds]

    assert len(set(keys)) == len(seeds)
    assert all(0 <= key < 2**64 for key in keys)


def test_rows_drawn_together_are_drawn_as_if_alone() -> None:
    sizes = [1, 3, 2_000, 12, 1, 700]
    rows = [some_distribution(size, spread=9.0) for size in sizes]
    keys, positions = [noise_key(seed) for seed in range(6)], [0, 5, 1, 1, 9, 2]

    together = sampler.draw_many(rows, keys, positions)

    assert together == [draw(*row) for row in zip(rows, keys, positions, strict=True)]


def test_distributions_made_together_are_those_made_alone() -> None:
    random = np.random.default_rng(4)
    logits = random.normal(size=(5, 300)).astype(np.float32) * 8
    legal = [np.sort(random.choice(300, size, replace=False)) for size in (1, 4, 300, 17)] + [None]
    samplings = [SamplingParams(t, top_k=k) for t, k in ((1.0, 0), (0.3, 2), (0.0, 0), (4.0, 5), (1.0, 0))]

    together = sampler.legal_distributions(logits, legal, samplings)

    for row, made in enumerate(together):
        alone = legal_distribution(logits[row], legal[row], samplings[row])
        assert made.ids.tolist() == alone.ids.tolist()
        assert np.allclose(made.logprobs, alone.logprobs, atol=1e-12)
        assert made.log_legal_mass == pytest.approx(alone.log_legal_mass, abs=1e-12)
