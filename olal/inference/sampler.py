"""Exact sampling from the legal distribution, with noise that belongs to the token and not to the draw.

A token is drawn by an exponential race (the Gumbel-max trick): with independent uniform numbers u_a, the token that
minimises -log(u_a) / p_a is distributed as p. Here u_a is a function of (request seed, position, token id) alone. So a
draw depends neither on its batch nor on how many tokens were drawn before in one pass, and two distributions that are
close to each other mostly draw the same token: the draft model's guess and the model's own draw coincide as often as
the distributions allow, and a drafted completion is the completion that would have been sampled without drafts
(Daliri, Musco, Suresh 2024, "Coupling without communication and drafter-invariant speculative decoding").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from olal.types import SamplingParams

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
# The noise -log(-log(u)) of these numbers lies within [-3.7, 36.8]: what is further behind the best cannot win.
_NOISE_RANGE = 42.0
_LEAST_EXACT_WEIGHT = 1e-280  # below this, exponentials lose digits to underflow
_MOST_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class LegalDistribution:
    """What may be drawn after a context.

    Attributes:
        ids: int64, shape (n,): the tokens with a probability above zero, sorted.
        logprobs: float64, shape (n,): their natural log-probabilities, which sum to one.
        log_legal_mass: log of the probability that the unmasked model gives to the legal tokens, before any cut.
    """

    ids: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    log_legal_mass: float

    def logprob(self, token: int) -> float:
        """Natural log-probability of a token; minus infinity where it cannot be drawn."""
        place = int(np.searchsorted(self.ids, token))
        is_there = place < len(self.ids) and self.ids[place] == token
        return float(self.logprobs[place]) if is_there else -math.inf


def legal_distribution(
    logits: NDArray[np.float32], legal: NDArray[np.int64] | None, sampling: SamplingParams
) -> LegalDistribution:
    """The distribution that `sampling` makes of the logits over the legal tokens.

    Args:
        logits: shape (vocabulary,).
        legal: sorted ids of the legal tokens; None for all of the vocabulary.
        sampling: temperature and cuts. At temperature 0 one token is left, with log-probability 0.0, and the legal
            mass is that at temperature 1.
    """
    return legal_distributions(logits[None], [legal], [sampling])[0]


def legal_distributions(
    logits: NDArray[np.float32], legal: Sequence[NDArray[np.int64] | None], samplings: Sequence[SamplingParams]
) -> list[LegalDistribution]:
    """`legal_distribution` of many rows at once.

    Args:
        logits: shape (n, vocabulary).
        legal: n sorted arrays of ids; None for all of the vocabulary.
        samplings: n temperatures and cuts.
    """
    rows: list[LegalDistribution] = []
    size = max(1, _MOST_VALUES // logits.shape[1])
    for start in range(0, len(logits), size):
        part = slice(start, start + size)
        temperatures = np.array([sampling.temperature or 1.0 for sampling in samplings[part]])
        scaled = logits[part].astype(np.float64) / temperatures[:, None]
        tops = scaled.max(axis=1)
        weights = np.exp(scaled - tops[:, None])
        totals = weights.sum(axis=1)
        for row, (ids, sampling) in enumerate(zip(legal[part], samplings[part], strict=True)):
            rows.append(_restricted(scaled[row], weights[row], float(tops[row]), float(totals[row]), ids, sampling))
    return rows


def _restricted(
    scaled: NDArray[np.float64],
    weights: NDArray[np.float64],
    top: float,
    total: float,
    legal: NDArray[np.int64] | None,
    sampling: SamplingParams,
) -> LegalDistribution:
    """One row: logits over temperature, their exponentials below `top`, and the sum of these."""
    if legal is None:
        legal = np.arange(len(scaled))
    chosen = scaled[legal]
    kept_weight = float(weights[legal].sum())
    if kept_weight > _LEAST_EXACT_WEIGHT:
        log_sum = top + math.log(kept_weight)
    else:
        peak = float(chosen.max())
        log_sum = peak + math.log(float(np.exp(chosen - peak).sum()))
    mass = min(log_sum - top - math.log(total), 0.0)
    if sampling.temperature == 0:
        return LegalDistribution(legal[[int(chosen.argmax())]], np.zeros(1), mass)
    logprobs = chosen - log_sum
    if (kept := _kept(logprobs, sampling)) is not None:
        legal, logprobs = legal[kept], logprobs[kept]
        logprobs = logprobs - math.log(np.exp(logprobs).sum())
    return LegalDistribution(legal, logprobs, mass)


def _kept(logprobs: NDArray[np.float64], sampling: SamplingParams) -> NDArray[np.bool_] | None:
    """Which tokens top-k and then top-p leave; None where they cut nothing."""
    kept: NDArray[np.bool_] | None = None
    if 0 < sampling.top_k < len(logprobs):
        kept = logprobs >= np.partition(logprobs, -sampling.top_k)[-sampling.top_k]
    if sampling.top_p < 1:
        among = logprobs if kept is None else logprobs[kept]
        probabilities = np.sort(np.exp(among))[::-1]
        probabilities /= probabilities.sum()
        last = int(np.searchsorted(np.cumsum(probabilities), sampling.top_p))
        threshold = np.sort(among)[::-1][min(last, len(among) - 1)]
        kept = logprobs >= threshold
    return kept


def noise_key(seed: int) -> int:
    """A 64-bit key from a seed of any size."""
    size = max(8, (seed.bit_length() + 8) // 8)
    return int.from_bytes(hashlib.blake2b(seed.to_bytes(size, "little", signed=True), digest_size=8).digest(), "little")


def draw(distribution: LegalDistribution, key: int, position: int) -> tuple[int, float]:
    """One token and its log-probability.

    Args:
        distribution: what may be drawn.
        key: from `noise_key`, the request's own.
        position: index of the token within its completion.
    """
    return draw_many([distribution], [key], [position])[0]


def draw_many(
    distributions: Sequence[LegalDistribution], keys: Sequence[int], positions: Sequence[int]
) -> list[tuple[int, float]]:
    """One token and its log-probability for each of n rows; each row's draw is its own, whatever the others are."""
    near = [_in_reach(distribution) for distribution in distributions]
    lengths = [len(ids) for ids, _ in near]
    streams = np.repeat(_streams(keys, positions), lengths)
    ids = np.concatenate([ids for ids, _ in near])
    scores = np.concatenate([logprobs for _, logprobs in near]) - np.log(_exponentials(streams, ids))
    drawn: list[tuple[int, float]] = []
    stop = 0
    for (row_ids, row_logprobs), length in zip(near, lengths, strict=True):
        start, stop = stop, stop + length
        index = int(scores[start:stop].argmax())
        drawn.append((int(row_ids[index]), float(row_logprobs[index])))
    return drawn


def _in_reach(distribution: LegalDistribution) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that the noise can let win, where looking for them pays."""
    ids, logprobs = distribution.ids, distribution.logprobs
    if len(ids) <= 1024:
        return ids, logprobs
    near = np.flatnonzero(logprobs > logprobs.max() - _NOISE_RANGE)
    return ids[near], logprobs[near]


def _streams(keys: Sequence[int], positions: Sequence[int]) -> NDArray[np.uint64]:
    """Where the noise of each row begins at its position, shape (n,)."""
    starts = [(key + (position + 1) * int(_MIX_1)) % 2**64 for key, position in zip(keys, positions, strict=True)]
    return _mix(np.array(starts, np.uint64))


def _exponentials(streams: NDArray[np.uint64], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard exponential numbers, one per token id: splitmix64 in counter mode (Steele, Lea, Flood 2014)."""
    bits = _mix(streams + ids.astype(np.uint64) * _GOLDEN)
    uniform = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52  # 53 bits: exact, never 0 nor 1
    return -np.log(uniform)


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))
