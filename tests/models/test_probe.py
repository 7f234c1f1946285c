"""The learner's half of a proof of delivery.

Pinned: engine and learner give the probe the same log-probability under the same adapter; an engine that has another
adapter, or none, does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from olal.adapters import probe_tokens
from olal.inference.transformers_engine import TransformersEngine
from olal.models.policy_network import PolicyNetwork
from olal.models.probe import probe_logprob
from olal.types import AdapterUpdate, ScoreRequest


def update(network: PolicyNetwork, flat: np.ndarray, version: int = 1) -> AdapterUpdate:
    return AdapterUpdate(version, network.bank.layout.digest(flat), flat)


def engine_probe(engine: TransformersEngine, network: PolicyNetwork) -> float:
    prompt, scored = probe_tokens(network.base.vocabulary.size)
    [score] = engine.score([ScoreRequest(prompt, scored)])
    return sum(score.logprobs) / len(score.logprobs)


def test_the_probe_is_the_plain_models_own_probability(tiny_learner, random_flat: Callable[..., np.ndarray]):
    flat = random_flat(tiny_learner, seed=3, std=0.2)
    said = probe_logprob(tiny_learner, update(tiny_learner, flat))
    prompt, scored = probe_tokens(tiny_learner.base.vocabulary.size)
    with torch.no_grad():
        logits = tiny_learner.base.network(input_ids=torch.tensor([prompt + scored])).logits[0]
    by_hand = [float(logits[len(prompt) + i - 1].log_softmax(0)[token]) for i, token in enumerate(scored)]
    assert said == pytest.approx(np.mean(by_hand), abs=1e-5)


def test_engine_and_learner_agree_on_the_same_adapter_alone(tiny_engine, tiny_learner, random_flat):
    engine = TransformersEngine(tiny_engine)
    flat, other = random_flat(tiny_learner, seed=5, std=0.05), random_flat(tiny_learner, seed=6, std=0.05)
    said = probe_logprob(tiny_learner, update(tiny_learner, flat))
    assert abs(engine_probe(engine, tiny_engine) - said) > 1e-3
    engine.load_adapter(update(tiny_learner, flat))
    assert engine_probe(engine, tiny_engine) == pytest.approx(said, abs=1e-5)
    engine.load_adapter(update(tiny_learner, other, version=2))
    assert abs(engine_probe(engine, tiny_engine) - said) > 1e-3
