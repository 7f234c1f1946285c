r"""Sequential Monte Carlo steering: samples of the model conditioned on its grammar, over any engine.

Sampling token by token under a mask renormalises at every token: q(x) = prod_t p(x_t | x_<t) / p(legal_t | x_<t). A
sentence that starts likely and leads where the grammar allows only what the model would hardly say is then drawn far
too often. What one wants is pi(x) = p(x) / sum_y p(y), x and y among the sentences, and with a potential psi
pi(x) ∝ p(x) exp(psi(x)). Particles drawn from q are weighted by what they owe to pi, and resampled as they go.

    round:    generate k decisions    weight                        resample, where few particles carry the weight
    target:   gamma_r(x) = p(x) exp(psi(x)) over the partial sentences x of round r, complete ones kept as they are
    weight:   w_r = gamma_r(x) / (gamma_{r-1}(x before) q(new)) = p(new) / q(new) * exp(psi(x) - psi(x before))

psi(x before) of the first round is 0, so along a path the potentials telescope to that of the whole sentence: only
this one shapes the target, the earlier ones merely guide. For a drawn token p / q is the legal mass. A forced token has
q = 1 but p <= 1: the legal mass that a completion reports does not hold it, since no pass was made, so all new
tokens are scored without the grammar. The sum of tokens is over token sequences that the grammar accepts, as in the
engine. Where a draft model alone writes some tokens, q is the draft's, and the weights make up for that too.

Lew, Zhi-Xuan, Grand, Mansinghka 2023, "Sequential Monte Carlo steering of large language models using probabilistic
programs"; Loula et al. 2025, "Syntactic and semantic control of large language models via sequential Monte Carlo"
(eq. 4 to 6); Del Moral 2004, "Feynman-Kac formulae" (7.4.2: the evidence estimate is unbiased).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from olal.errors import ConfigError
from olal.grammar import Vocabulary
from olal.inference.base import Engine
from olal.types import Completion, DraftStatistics, GenerateRequest, SamplingParams, ScoreRequest


class Potential(Protocol):
    """What the target prefers beyond the model: a critic, or any function of the text."""

    def __call__(self, request: GenerateRequest, partials: Sequence[Completion]) -> Sequence[float]:
        """Log-potentials of one request's particles, complete (stop reason "grammar") or not (any other).

        Minus infinity rules a particle out for good, so a partial one may get it only where no continuation is wanted.
        """
        ...


@dataclass(frozen=True, slots=True)
class SteeringParams:
    """How many particles, and how they are held together.

    Attributes:
        num_particles: N. The samples' bias falls as 1 / N; the evidence has none.
        resample_below: resample when the effective sample size is below this share of N; 0 for never.
        decisions_per_round: decisions between two weightings. Drafts reach over one round at most, so speculation
            pays from two on; weights are exact for any number.
    """

    num_particles: int = 16
    resample_below: float = 0.5
    decisions_per_round: int = 1

    def __post_init__(self) -> None:
        if self.num_particles < 1:
            raise ConfigError(f"there must be at least 1 particle: {self.num_particles}")
        if not 0 <= self.resample_below <= 1:
            raise ConfigError(f"resample_below must be a share of the particles, 0 to 1: {self.resample_below}")
        if self.decisions_per_round < 1:
            raise ConfigError(f"there must be at least 1 decision per round: {self.decisions_per_round}")


@dataclass(frozen=True, slots=True)
class SteeredCompletions:
    """Weighted completions of one request.

    Attributes:
        completions: the particles; their log-probabilities are those of their draws, q. One of weight zero may be
            incomplete: it ran into max_tokens, or a potential ruled it out.
        log_weights: natural logs of their weights, whose mean is the evidence estimate.
        log_evidence: log of the estimate of sum_x p(x) exp(psi(x)) over the sentences of at most max_tokens tokens,
            without a potential the model's own probability of the grammar. The estimate itself is unbiased, its log is
            not. Minus infinity where no particle ended a sentence; NaN where the request failed.
        effective_sizes: effective sample size after every round, before resampling.
        num_resamplings: how often particles were resampled.
        error: one line where there is nothing to draw, else empty.
    """

    completions: tuple[Completion, ...]
    log_weights: tuple[float, ...]
    log_evidence: float
    effective_sizes: tuple[float, ...]
    num_resamplings: int
    error: str = ""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Normalised weights, shape (num_particles,)."""
        if self.error:
            raise ConfigError(self.error)
        return _normalised(np.array(self.log_weights))

    def draw(self, seed: int) -> Completion:
        """One completion, chosen by weight.

        Raises:
            ConfigError: there is none; see `error`.
        """
        generator = np.random.default_rng(_seed(seed))
        return self.completions[int(generator.choice(len(self.completions), p=self.probabilities))]


def steer(
    engine: Engine,
    vocabulary: Vocabulary,
    requests: Sequence[GenerateRequest],
    params: SteeringParams | None = None,
    potential: Potential | None = None,
) -> list[SteeredCompletions]:
    """Sample every request with particles, all of them in the same engine batches.

    Args:
        engine: any engine; its adapters must stay as they are meanwhile.
        vocabulary: the engine's, to spell what was sampled in several rounds.
        requests: what to sample. The prefix counts as given: weights and potentials are of what comes after it.
        params: particles and resampling.
        potential: log-potentials of partial completions; None for the model conditioned on the grammar.

    Returns:
        One result per request, in order; what is wrong with one is told in its own.

    Raises:
        ConfigError: a temperature of 0 or a cut, where tokens of the target could never be drawn; a bound on decisions
            or a deadline, which would leave sentences unfinished; or a potential that is no number.
    """
    params = params or SteeringParams()
    for request in requests:
        _check(request)
    runs = [_Run(request, params, potential, vocabulary) for request in requests]
    number = 0
    while waiting := [(run, particle, query) for run in runs for particle, query in run.queries(number)]:
        parts = engine.generate([query for _, _, query in waiting])
        asked = [_score_request(query, part) for (_, _, query), part in zip(waiting, parts, strict=True)]
        place = {request: index for index, request in enumerate(dict.fromkeys(asked))}
        scores = engine.score(list(place))
        for (run, particle, _), part, request in zip(waiting, parts, asked, strict=True):
            score = scores[place[request]]
            run.error = run.error or part.error or score.error
            if not run.error:
                particle.extend(part, sum(score.logprobs) - sum(part.logprobs))
        for run in {id(run): run for run, _, _ in waiting}.values():
            run.weigh_and_resample(number)
        number += 1
    return [run.result() for run in runs]


@dataclass(eq=False, slots=True)
class _Particle:
    """One hypothesis: what its rounds gave, and its weight so far."""

    parts: tuple[Completion, ...] = ()
    token_ids: tuple[int, ...] = ()
    log_weight: float = 0.0
    log_potential: float = 0.0
    is_moved: bool = False

    @property
    def is_waiting(self) -> bool:
        """Whether there is more to generate: a particle of weight zero has no future."""
        return self.log_weight > -math.inf and (not self.parts or self.parts[-1].stop_reason == "paused")

    def extend(self, part: Completion, log_ratio: float) -> None:
        """Append a round; a sentence that its length cut is none, so its target is zero."""
        self.parts = (*self.parts, part)
        self.token_ids = (*self.token_ids, *part.token_ids)
        self.log_weight += log_ratio if part.stop_reason in ("grammar", "paused") else -math.inf
        self.is_moved = True

    def twist(self, log_potential: float) -> None:
        """Take the potential of before out of the weight and the present one in."""
        if math.isnan(log_potential) or log_potential == math.inf:
            raise ConfigError(f"a log-potential must be a number or minus infinity: {log_potential}")
        self.log_weight += log_potential - self.log_potential
        self.log_potential = log_potential


class _Run:
    """The particles of one request."""

    def __init__(
        self, request: GenerateRequest, params: SteeringParams, potential: Potential | None, vocabulary: Vocabulary
    ) -> None:
        self._request = request
        self._params = params
        self._potential = potential
        self._vocabulary = vocabulary
        self._particles = [_Particle() for _ in range(params.num_particles)]
        self._effective_sizes: list[float] = []
        self._num_resamplings = 0
        self.error = ""

    def queries(self, number: int) -> list[tuple[_Particle, GenerateRequest]]:
        """The particles that go on in this round, and how; each slot and round has a seed of its own."""
        if self.error:
            return []
        most, prefix = self._params.decisions_per_round, self._request.prefix
        queries: list[tuple[_Particle, GenerateRequest]] = []
        for slot, particle in enumerate(self._particles):
            particle.is_moved = False
            if particle.is_waiting:
                seed = _seed(self._request.seed, slot, number)
                grown = (*prefix, *particle.token_ids)
                queries.append((particle, replace(self._request, prefix=grown, seed=seed, max_decisions=most)))
        return queries

    def weigh_and_resample(self, number: int) -> None:
        """Take the potentials in, then resample if few particles carry the weight and some have a future."""
        if self.error:
            return
        self._twist([particle for particle in self._particles if particle.is_moved and particle.log_weight > -math.inf])
        log_weights = np.array([particle.log_weight for particle in self._particles])
        size = _effective_size(log_weights)
        self._effective_sizes.append(size)
        if not any(particle.is_waiting for particle in self._particles):
            return
        if size < self._params.resample_below * len(self._particles):
            uniform = float(np.random.default_rng(_seed(self._request.seed, -1, number)).random())
            mean = _log_mean(log_weights)
            chosen = systematic(_normalised(log_weights), uniform)
            self._particles = [replace(self._particles[index], log_weight=mean) for index in chosen]
            self._num_resamplings += 1

    def result(self) -> SteeredCompletions:
        """What the requester gets."""
        if self.error:
            return SteeredCompletions((), (), math.nan, tuple(self._effective_sizes), self._num_resamplings, self.error)
        log_weights = tuple(particle.log_weight for particle in self._particles)
        evidence = _log_mean(np.array(log_weights))
        dead = "no particle ended a sentence: raise max_tokens or the number of particles, or mend the potential"
        return SteeredCompletions(
            completions=tuple(_merged(particle.parts, self._vocabulary) for particle in self._particles),
            log_weights=log_weights,
            log_evidence=evidence,
            effective_sizes=tuple(self._effective_sizes),
            num_resamplings=self._num_resamplings,
            error=dead if evidence == -math.inf else "",
        )

    def _twist(self, moved: Sequence[_Particle]) -> None:
        if self._potential is None or not moved:
            return
        partials = [_merged(particle.parts, self._vocabulary) for particle in moved]
        for particle, value in zip(moved, self._potential(self._request, partials), strict=True):
            particle.twist(float(value))


def systematic(probabilities: NDArray[np.float64], uniform: float) -> NDArray[np.int64]:
    """Systematic resampling: index i is chosen floor or ceil of N p_i times, N p_i on average (Carpenter et al. 1999).

    Args:
        probabilities: shape (N,), sum 1.
        uniform: drawn from [0, 1).

    Returns:
        Chosen indices, shape (N,), ascending.

    >>> systematic(np.array([0.5, 0.0, 0.25, 0.25]), 0.5).tolist()
    [0, 0, 2, 3]
    """
    count = len(probabilities)
    heights = np.cumsum(probabilities)
    heights /= heights[-1]
    places = np.minimum((uniform + np.arange(count)) / count, np.nextafter(1.0, 0.0))
    return np.searchsorted(heights, places, side="right")


def _check(request: GenerateRequest) -> None:
    sampling = request.sampling
    if sampling.temperature == 0 or sampling.top_k or sampling.top_p < 1:
        raise ConfigError(
            "steering weighs samples of the whole legal distribution: the temperature must be above 0, top_k 0 and "
            f"top_p 1: temperature {sampling.temperature}, top_k {sampling.top_k}, top_p {sampling.top_p}"
        )
    if request.max_decisions is not None or request.deadline_s is not None:
        raise ConfigError("particles must be able to end their sentences: max_decisions and deadline_s must be None")


def _score_request(query: GenerateRequest, part: Completion) -> ScoreRequest:
    """The new tokens under the model without the grammar."""
    return ScoreRequest(
        prompt_token_ids=(*query.prompt_token_ids, *query.prefix),
        token_ids=part.token_ids,
        sampling=SamplingParams(query.sampling.temperature),
        adapter=query.adapter,
    )


def _merged(parts: Sequence[Completion], vocabulary: Vocabulary) -> Completion:
    """Rounds as one completion; characters that a round's end cut are whole again."""
    if len(parts) == 1:
        return parts[0]
    token_ids = tuple(token for part in parts for token in part.token_ids)
    spoken = token_ids[:-1] if token_ids[-1:] == (vocabulary.eos_token_id,) else token_ids
    is_delegated = any(part.delegated for part in parts)
    return Completion(
        token_ids=token_ids,
        text=vocabulary.text(spoken),
        logprobs=tuple(value for part in parts for value in part.logprobs),
        forced=tuple(value for part in parts for value in part.forced),
        log_legal_mass=tuple(value for part in parts for value in part.log_legal_mass),
        adapter_version=parts[-1].adapter_version,
        stop_reason=parts[-1].stop_reason,
        num_passes=sum(part.num_passes for part in parts),
        delegated=tuple(v for part in parts for v in part.delegated or (False,) * len(part.token_ids))
        if is_delegated
        else (),
        drafts=DraftStatistics(
            tuple(sum(at) for at in itertools.zip_longest(*(part.drafts.proposed for part in parts), fillvalue=0)),
            tuple(sum(at) for at in itertools.zip_longest(*(part.drafts.accepted for part in parts), fillvalue=0)),
        ),
    )


def _log_mean(log_weights: NDArray[np.float64]) -> float:
    top = float(log_weights.max())
    return top + math.log(float(np.exp(log_weights - top).mean())) if top > -math.inf else top


def _normalised(log_weights: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _effective_size(log_weights: NDArray[np.float64]) -> float:
    """1 / sum of squared normalised weights (Kong, Liu, Wong 1994); 0 where all are zero."""
    if log_weights.max() == -math.inf:
        return 0.0
    return float(1.0 / np.square(_normalised(log_weights)).sum())


def _seed(*parts: int) -> int:
    """64 bits that differ wherever the parts do."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "little")
