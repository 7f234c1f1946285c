"""What the tests of the vLLM engine share: the engine with one adapter, exact enumeration, and a look into vLLM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats

from olal.grammar import Vocabulary
from olal.inference.vllm.engine import VllmEngine
from olal.types import AdapterUpdate, Completion, GenerateRequest

VllmFactory = Callable[..., VllmEngine]


@pytest.fixture
def make_vllm(
    reset_vllm_engine: VllmFactory, flat: np.ndarray, update_of: Callable[[int, np.ndarray], AdapterUpdate]
) -> VllmFactory:
    """The engine under version 5, the random adapter, with any drafter."""

    def make(**options: Any) -> VllmEngine:
        engine = reset_vllm_engine(**options)
        engine.load_adapter(update_of(5, flat))
        return engine

    return make


@pytest.fixture
def vllm(make_vllm: VllmFactory) -> VllmEngine:
    return make_vllm()


@pytest.fixture
def scheduler(vllm_engine: VllmEngine) -> Any:
    """vLLM's scheduler, which is ours."""
    return vllm_engine._core._core.scheduler


@pytest.fixture
def runner(vllm_engine: VllmEngine) -> Any:
    """vLLM's model runner, in this very process."""
    return vllm_engine._core._core.model_executor.driver_worker.worker.model_runner


@pytest.fixture
def scheduled(scheduler: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens run in each pass from here on."""
    counts: list[int] = []
    whole = scheduler.schedule

    def schedule(*args: Any) -> Any:
        output = whole(*args)
        counts.append(output.total_num_scheduled_tokens)
        return output

    monkeypatch.setattr(scheduler, "schedule", schedule)
    return counts


@pytest.fixture
def worst_gap() -> Callable[[Any, GenerateRequest, Completion], float]:
    """Largest difference of a completion's log-probabilities and masses from the oracle's."""

    def measure(oracle: Any, request: GenerateRequest, completion: Completion) -> float:
        temperature = request.sampling.temperature
        steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, temperature)
        gaps = [0.0]
        for t, step in enumerate(steps):
            assert completion.forced[t] == (len(step.legal) == 1)
            exact = step.logprobs[step.legal.index(completion.token_ids[t])] if temperature else 0.0
            mass = 0.0 if completion.forced[t] else step.log_legal_mass
            gaps += [abs(exact - completion.logprobs[t]), abs(mass - completion.log_legal_mass[t])]
        return max(gaps)

    return measure


@pytest.fixture
def p_value(oracle: Any, vocabulary: Vocabulary) -> Callable[[GenerateRequest, Sequence[Completion]], float]:
    """Of the hypothesis that completions follow the exact distribution, by enumeration of all token paths."""

    def measure(request: GenerateRequest, completions: Sequence[Completion]) -> float:
        count, temperature = len(completions), request.sampling.temperature
        paths, stack = [], [()]
        while stack:
            prefix = stack.pop()
            state = vocabulary.state(request.grammar, prefix)
            paths.extend([prefix] if state.is_complete else [])
            stack.extend((*prefix, int(token)) for token in state.legal)
        exact = {}
        for path in paths:
            steps = oracle.steps(request.prompt_token_ids, request.grammar, path, temperature)
            exact[path] = np.exp(sum(s.logprobs[s.legal.index(token)] for s, token in zip(steps, path, strict=True)))
        assert sum(exact.values()) == pytest.approx(1)
        seen = Counter(completion.token_ids for completion in completions)
        frequent = [path for path in exact if exact[path] * count >= 5]
        assert len(frequent) >= 6
        observed = [*(seen[path] for path in frequent), count - sum(seen[path] for path in frequent)]
        expected = [*(exact[path] * count for path in frequent), count * (1 - sum(exact[path] for path in frequent))]
        if expected[-1] < 1:
            observed, expected = observed[:-1], expected[:-1]
        observed, expected = np.array(observed), np.array(expected)
        return float(scipy.stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue)

    return measure
