"""Engines under test, and an oracle that shares nothing with them: PEFT's own model in float64, a full forward for
every prefix, and llguidance asked directly.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llguidance import LLMatcher, LLTokenizer
from peft import PeftModel
from transformers import AutoModelForCausalLM

from olal.adapters import write_peft_directory
from olal.inference import Engine
from olal.inference.transformers_engine import TransformersEngine
from olal.models.base_model import load_base_model
from olal.models.causal_network import CausalNetwork
from olal.models.model_path import TINY_PATH
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, GenerateRequest, GrammarSpec, SamplingParams


@dataclass(frozen=True)
class Step:
    """What the oracle says of one token."""

    legal: list[int]
    logprobs: list[float]
    log_legal_mass: float


class Oracle:
    """Distributions over legal tokens under one adapter, the slow way."""

    def __init__(self, network: PolicyNetwork, flat: np.ndarray, path: Path) -> None:
        write_peft_directory(path, network.bank.layout, flat, network.bank.peft_config)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(TINY_PATH), path)
        self._model = model.double().eval()
        tokenizer = (TINY_PATH / "tokenizer.json").read_text()
        self._eos = json.loads((TINY_PATH / "config.json").read_text())["eos_token_id"]
        self._tokenizer = LLTokenizer(tokenizer, eos_token=self._eos)

    @torch.no_grad()
    def steps(
        self, prompt: Sequence[int], grammar: GrammarSpec, token_ids: Sequence[int], temperature: float
    ) -> list[Step]:
        """The legal distribution before every token of a completion; at temperature 0 that at temperature 1."""
        logits = self._model(input_ids=torch.tensor([[*prompt, *token_ids]])).logits[0] / (temperature or 1.0)
        matcher, steps = LLMatcher(self._tokenizer, grammar.text), []
        for t, token in enumerate(token_ids):
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
            legal = np.flatnonzero(bits).tolist() or [self._eos]
            row = logits[len(prompt) + t - 1]
            log_sum = row[legal].logsumexp(0)
            steps.append(Step(legal, (row[legal] - log_sum).tolist(), float(log_sum - row.logsumexp(0))))
            assert matcher.consume_token(token)
        return steps

    @torch.no_grad()
    def plain(self, prompt: Sequence[int], token_ids: Sequence[int], temperature: float = 1.0) -> np.ndarray:
        """Log-probabilities of the whole vocabulary before every token, without a grammar."""
        logits = self._model(input_ids=torch.tensor([[*prompt, *token_ids]])).logits[0] / temperature
        return logits[len(prompt) - 1 : -1].log_softmax(-1).numpy()

    def logprobs(self, prompt: Sequence[int], token_ids: Sequence[int], temperature: float = 1.0) -> list[float]:
        """Log-probabilities of given tokens under the model without a grammar."""
        rows = self.plain(prompt, token_ids, temperature)
        return [float(row[token]) for row, token in zip(rows, token_ids, strict=True)]


@pytest.fixture(scope="session")
def make_oracle(tiny_engine: PolicyNetwork, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Oracle]:
    known: dict[str, Oracle] = {}

    def make(flat: np.ndarray) -> Oracle:
        digest = tiny_engine.bank.layout.digest(flat)
        if digest not in known:
            known[digest] = Oracle(tiny_engine, flat, tmp_path_factory.mktemp("adapter"))
        return known[digest]

    return make


@pytest.fixture
def flat(tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray]) -> np.ndarray:
    """The adapter that engines under test begin with."""
    return random_flat(tiny_engine, seed=21)


@pytest.fixture
def oracle(make_oracle: Callable[[np.ndarray], Oracle], flat: np.ndarray) -> Oracle:
    return make_oracle(flat)


@pytest.fixture
def update_of(tiny_engine: PolicyNetwork) -> Callable[[int, np.ndarray], AdapterUpdate]:
    def make(version: int, flat: np.ndarray) -> AdapterUpdate:
        return AdapterUpdate(version, tiny_engine.bank.layout.digest(flat), flat)

    return make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The engine under test is part of a test's name."""
    if "make_engine" in metafunc.fixturenames:
        metafunc.parametrize("make_engine", [metafunc.config.getoption("engines")], indirect=True)


@pytest.fixture
def make_engine(
    request: pytest.FixtureRequest,
    tiny_engine: PolicyNetwork,
    flat: np.ndarray,
    update_of: Callable[..., AdapterUpdate],
) -> Callable[..., Engine]:
    """A fresh engine under version 5, the random adapter. They share a network: use one after the other."""

    def make(**options: Any) -> Engine:
        engine = make_one(**options)
        engine.load_adapter(update_of(5, flat))
        return engine

    if request.param == "transformers":
        make_one = partial(TransformersEngine, tiny_engine)
    else:
        make_one = request.getfixturevalue("reset_vllm_engine")
    return make


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    return make_engine()


@pytest.fixture
def ask(tokenizer) -> Callable[..., list[GenerateRequest]]:
    """Requests for one prompt and grammar, one per seed."""

    def make(
        grammar: GrammarSpec,
        seeds: Sequence[int] = (0,),
        *,
        prompt: str = "lake row=0 col=0\n",
        temperature: float = 1.0,
        max_tokens: int = 64,
    ) -> list[GenerateRequest]:
        ids = tuple(tokenizer.encode(prompt).ids)
        return [GenerateRequest(ids, grammar, SamplingParams(temperature, max_tokens), seed) for seed in seeds]

    return make


@pytest.fixture(scope="session")
def other_small() -> CausalNetwork:
    """The tiny model with other weights."""
    base = load_base_model("tiny", device="cpu")
    generator = torch.Generator().manual_seed(5)
    for weight in base.network.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=generator)
    return CausalNetwork(base)
