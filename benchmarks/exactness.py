"""Exactness: engine against learner probabilities, and samples against exact enumeration, for every way of decoding.

`max_logprob_gap_*`: games of the grid world are played by one network and scored by another with the same weights; the
control beside it is the gap of a learner that normalises over the whole vocabulary, `full_vocabulary_mean_ratio` its
mean probability ratio. Such actions are short; `max_sample_logprob_gap_*` is that of the samples below, which have
three decisions each, so that drafts reach over several. `chi2_p_*`: 20,000 samples with fixed seeds against every
token path of a small grammar, enumerated by plain forwards. Steered samples are held to the model conditioned on the
grammar, each weighted by its run's evidence estimate, with which the test is exact for any number of particles; the
control beside it is masked sampling held to the same target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from _exactness import exactness
from _report import Measurement, arguments, measure, report
from numpy.typing import NDArray

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.experiments.build_engine import has_vllm
from olal.experiments.seeds import training_tasks
from olal.grammar import regex_grammar
from olal.inference import Engine
from olal.inference.choices import rank_choices
from olal.inference.smc import SteeringParams, steer
from olal.inference.speculation import Drafter
from olal.inference.speculation.draft_model import DraftModel, DraftModelDrafter
from olal.inference.speculation.ngram import NgramDrafter
from olal.inference.transformers_engine import TransformersEngine
from olal.models.base_model import load_base_model
from olal.models.causal_network import CausalNetwork
from olal.models.lora_bank import LoraBank
from olal.models.policy_network import PolicyNetwork
from olal.rollout import Collector
from olal.types import AdapterUpdate, GenerateRequest, SamplingParams

COUNT, PARTICLES, EPISODES = 20_000, 4, 64
GRAMMAR = regex_grammar("(x[0-9]|y[0-2]|z[a-c])[024]")
SAMPLING = SamplingParams(temperature=2.0)
PROMPT = "x02\nx14\nx20\nx34\ny02\ny14\nz\nlake row=0 col=0\n"  # something for a lookup to find
CHOICES = ("left", "right", "up", "left left", "a", "ab", "[1]", "[1,2]", "é")
GAP, FIT = "<= 1e-4", ">= 0.01"

Path = tuple[int, ...]


@dataclass(frozen=True)
class Exact:
    """Every path of a grammar, with its probability under the model and under masked sampling."""

    paths: list[Path]
    model: NDArray[np.float64]
    masked: NDArray[np.float64]


def main() -> None:
    """Measure every mode."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="samples per chi-square test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, learner = make_network(), make_network()
    update = random_adapter(network)
    learner.bank.use(torch.from_numpy(update.flat))
    prompt = tuple(network.base.tokenizer.encode(PROMPT))
    exact = enumerate_paths(learner, prompt)
    measurements: list[Measurement] = []
    for name, make_engine in modes(network).items():
        engine = make_engine()
        engine.load_adapter(update)
        measurements += engine_rows(name, engine, learner, prompt, exact, options.count)
    engine = TransformersEngine(network)
    engine.load_adapter(update)
    measurements += smc_rows(engine, learner, prompt, exact, options.count)
    measurements += choice_rows(engine, learner, prompt, options.count)
    report(measurements, options.json)


def modes(network: PolicyNetwork) -> dict[str, Callable[[], Engine]]:
    """Engines and what guesses for them; each is built when its turn comes."""
    small = load_base_model("tiny", device="cpu")
    noise = torch.Generator().manual_seed(5)
    for weight in small.network.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=noise)
    draft = DraftModel(CausalNetwork(small), network.base, cache_bytes=1 << 24, width=256)
    drafters: dict[str, Callable[[], Drafter | None]] = {
        "plain": lambda: None,
        "ngram": NgramDrafter,
        "memory": lambda: NgramDrafter(num_remembered=512),
        "draft_model": lambda: DraftModelDrafter(draft),
    }

    def transformers(make_drafter: Callable[[], Drafter | None]) -> Callable[[], Engine]:
        return lambda: TransformersEngine(network, drafter=make_drafter())

    def vllm(make_drafter: Callable[[], Drafter | None]) -> Callable[[], Engine]:
        from olal.inference.vllm.engine import VllmEngine

        return lambda: VllmEngine(network, dtype="float32", drafter=make_drafter())

    known = {name: transformers(make_drafter) for name, make_drafter in drafters.items()}
    if has_vllm():
        known |= {f"vllm_{name}": vllm(drafters[name]) for name in ("plain", "memory")}
    return known


def engine_rows(
    name: str, engine: Engine, learner: PolicyNetwork, prompt: Path, exact: Exact, count: int
) -> list[Measurement]:
    """Gap of what is played, and the fit of samples."""
    collector = Collector(lambda: make_env("gridworld", {}), lambda env: PromptAgent(env.instructions), engine)
    games = collector.collect(training_tasks(0, 0, EPISODES), SamplingParams())
    gap, ratio = exactness(learner, games)
    completions = engine.generate([GenerateRequest(prompt, GRAMMAR, SAMPLING, seed) for seed in range(count)])
    p = fit(exact.paths, exact.masked, [completion.token_ids for completion in completions])
    expected = dict(zip(exact.paths, np.log(exact.masked), strict=True))
    sample_gap = max(abs(sum(c.logprobs) - float(expected[c.token_ids])) for c in completions)
    played = [turn.completion for game in games for turn in game.turns]
    accepted = sum(sum(completion.drafts.accepted) for completion in [*played, *completions])
    return [
        measure(f"max_logprob_gap_{name}", gap.value, "nats", GAP, baseline=gap.baseline),
        measure(f"full_vocabulary_mean_ratio_{name}", ratio.value, "ratio"),
        measure(f"max_sample_logprob_gap_{name}", sample_gap, "nats", GAP),
        measure(f"chi2_p_{name}", p, "p-value", FIT),
        measure(f"drafts_accepted_{name}", accepted, "tokens"),
    ]


def smc_rows(engine: Engine, learner: PolicyNetwork, prompt: Path, exact: Exact, count: int) -> list[Measurement]:
    """Steered samples against the model conditioned on the grammar, and the evidence against the exact sum."""
    vocabulary = learner.base.vocabulary
    requests = [GenerateRequest(prompt, GRAMMAR, SAMPLING, seed) for seed in range(count)]
    results = steer(engine, vocabulary, requests, SteeringParams(PARTICLES, resample_below=0.8))
    drawn = [result.draw(seed).token_ids for seed, result in enumerate(results)]
    evidence = np.exp([result.log_evidence for result in results])
    masked = [completion.token_ids for completion in engine.generate(requests)]
    target = exact.model / exact.model.sum()
    place = {path: index for index, path in enumerate(exact.paths)}
    error = evidence.std() / np.sqrt(count)
    p_evidence = 2 * scipy.stats.norm.sf(abs(evidence.mean() - exact.model.sum()) / error)
    gap = 0.0
    for result in steer(engine, vocabulary, requests[:200], SteeringParams(PARTICLES, resample_below=0.0)):
        for completion, log_weight in zip(result.completions, result.log_weights, strict=True):
            index = place[completion.token_ids]
            gap = max(gap, abs(log_weight - np.log(exact.model[index] / exact.masked[index])))
    return [
        measure("max_log_weight_gap_smc", float(gap), "nats", GAP),
        measure(
            "chi2_p_smc", fit(exact.paths, target, drawn, evidence), "p-value", FIT, fit(exact.paths, target, masked)
        ),
        measure("evidence_ratio_smc", float(evidence.mean() / exact.model.sum()), "ratio"),
        measure("evidence_p_smc", float(p_evidence), "p-value", FIT),
    ]


def choice_rows(engine: Engine, learner: PolicyNetwork, prompt: Path, count: int) -> list[Measurement]:
    """Scores of choices against one full forward each, and samples by their softmax."""
    ranked = rank_choices(engine, learner.base.vocabulary, prompt, CHOICES)
    paths = [choice.token_ids for choice in ranked]
    exact = np.array([float(full_logprobs(learner, prompt, path, 1.0)[1].sum()) for path in paths])
    scores = np.array([choice.score for choice in ranked])
    shares, target = (np.exp(values - values.max()) for values in (scores, exact))
    drawn = np.random.default_rng(0).choice(len(paths), count, p=shares / shares.sum())
    p = fit(paths, target / target.sum(), [paths[index] for index in drawn])
    is_same = bool((np.argsort(-exact, kind="stable") == np.arange(len(paths))).all())
    return [
        measure("max_logprob_gap_choices", float(np.abs(scores - exact).max()), "nats", GAP),
        measure("ranking_equals_brute_force", float(is_same), "1 if so", ">= 1"),
        measure("chi2_p_choices", p, "p-value", FIT),
    ]


def make_network() -> PolicyNetwork:
    """The tiny model with a bank of its own."""
    base = load_base_model("tiny", device="cpu")
    return PolicyNetwork(base, LoraBank(base.network, rank=4, alpha=8.0, targets="all-linear", seed=0))


def random_adapter(network: PolicyNetwork) -> AdapterUpdate:
    """An adapter far from the initial one, under which legal masses vary strongly."""
    noise = np.random.default_rng(21).standard_normal(network.bank.layout.num_parameters)
    flat = (network.bank.initial + 0.3 * noise).astype(np.float32)
    return AdapterUpdate(1, network.bank.layout.digest(flat), flat)


@torch.no_grad()
def full_logprobs(
    learner: PolicyNetwork, prompt: Path, path: Path, temperature: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One forward of prompt and path.

    Returns:
        Log-probabilities of the whole vocabulary before every token, shape (len(path), vocabulary), and of the tokens.
    """
    columns = torch.arange(len(prompt) - 1, len(prompt) + len(path) - 1)
    logits, _ = learner.at_positions([(*prompt, *path)], torch.zeros_like(columns), columns)
    rows = (logits.double() / temperature).log_softmax(1).numpy()
    return rows, rows[np.arange(len(path)), list(path)]


def enumerate_paths(learner: PolicyNetwork, prompt: Path) -> Exact:
    """Every token sequence that spells a sentence of the grammar, with its probabilities."""
    vocabulary, paths, model, masked = learner.base.vocabulary, list[Path](), list[float](), list[float]()
    stack: list[Path] = [()]
    while stack:
        prefix = stack.pop()
        state = vocabulary.state(GRAMMAR, prefix)
        stack.extend((*prefix, int(token)) for token in state.legal)
        if not state.is_complete:
            continue
        rows, chosen = full_logprobs(learner, prompt, prefix, SAMPLING.temperature)
        legal = [vocabulary.state(GRAMMAR, prefix[:t]).legal for t in range(len(prefix))]
        mass = sum(float(np.log(np.exp(row[ids]).sum())) for row, ids in zip(rows, legal, strict=True))
        paths.append(prefix)
        model.append(float(chosen.sum()))
        masked.append(float(chosen.sum()) - mass)
    return Exact(paths, np.exp(model), np.exp(masked))


def fit(
    paths: Sequence[Path],
    target: NDArray[np.float64],
    draws: Sequence[Path],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """p-value of Wald's chi-square test that E[w (1{x = a} - target(a))] = 0 for every path a.

    For properly weighted draws (x, w) that holds exactly; where no weights are given it is Pearson's test. Paths
    expected fewer than 20 times share a cell with the least frequent other.
    """
    number = {path: index for index, path in enumerate(paths)}
    frequent = target * len(draws) >= 20
    frequent[np.where(frequent, target, 2).argmin()] = False
    cells = np.where(frequent, np.cumsum(frequent), 0)
    expected = np.bincount(cells, target / target.sum())
    seen = np.eye(len(expected))[[cells[number[path]] for path in draws]]
    if weights is None:
        return float(scipy.stats.chisquare(seen.sum(0), expected * len(draws)).pvalue)
    terms = ((weights / weights.mean())[:, None] * (seen - expected))[:, 1:]
    mean = terms.mean(0)
    statistic = len(draws) * mean @ np.linalg.solve(np.cov(terms.T, bias=True), mean)
    return float(scipy.stats.chi2.sf(statistic, terms.shape[1]))


if __name__ == "__main__":
    main()
