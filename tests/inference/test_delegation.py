"""Pinned: a delegating engine asks the large model at the fields marked as decisions and nowhere else, says which
tokens the small model wrote, and reports for each token the log-probability under the model that drew it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import json_grammar
from olal.inference.sampler import legal_distribution
from olal.inference.speculation.draft_model import DraftModel
from olal.inference.transformers_engine import TransformersEngine
from olal.models.causal_network import CausalNetwork
from olal.models.policy_network import PolicyNetwork
from olal.types import Completion, GenerateRequest

Ask = Callable[..., list[GenerateRequest]]

REPLY = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "maxLength": 12, "pattern": "^[a-z ]*$"},
        "move": {"enum": ["left", "right", "forward"], "x-decision": True},
        "sure": {"type": "boolean"},
    },
    "required": ["why", "move", "sure"],
    "additionalProperties": False,
}


@pytest.fixture
def delegate(other_small: CausalNetwork, tiny_engine: PolicyNetwork) -> DraftModel:
    return DraftModel(other_small, tiny_engine.base, cache_bytes=1 << 24, width=64)


@pytest.fixture
def completions(tiny_engine: PolicyNetwork, delegate: DraftModel, ask: Ask) -> list[Completion]:
    engine = TransformersEngine(tiny_engine, delegate=delegate)
    return engine.generate(ask(json_grammar(REPLY), range(30)))


def spans(completion: Completion, tiny_engine: PolicyNetwork) -> tuple[list[int], list[int]]:
    """Positions of free tokens within the value of `move`, and of the other free tokens."""
    inside, outside = [], []
    for t, is_forced in enumerate(completion.forced):
        before = tiny_engine.base.vocabulary.text(completion.token_ids[:t])
        if not is_forced:
            (inside if '"move":' in before and '"sure"' not in before else outside).append(t)
    return inside, outside


def test_the_small_model_writes_all_but_the_decision(completions: list[Completion], tiny_engine: PolicyNetwork) -> None:
    for completion in completions:
        inside, outside = spans(completion, tiny_engine)
        assert inside
        assert outside
        assert not any(completion.delegated[t] for t in inside)
        assert all(completion.delegated[t] for t in outside)
        assert completion.num_passes == len(inside)
    assert len({completion.text for completion in completions}) > 20


def test_each_token_has_the_probability_of_the_model_that_drew_it(
    completions: list[Completion], ask: Ask, tiny_engine: PolicyNetwork, other_small: CausalNetwork
) -> None:
    [request] = ask(json_grammar(REPLY))
    tiny_engine.bank.use(torch.from_numpy(tiny_engine.bank.initial.copy()))
    for completion in completions[:6]:
        sequence = (*request.prompt_token_ids, *completion.token_ids)
        columns = torch.arange(len(request.prompt_token_ids) - 1, len(sequence) - 1)
        rows = torch.zeros(len(columns), dtype=torch.long)
        with torch.no_grad():
            large_logits, small_logits = (
                n.at_positions([sequence], rows, columns)[0] for n in (tiny_engine, other_small)
            )
        for t, token in enumerate(completion.token_ids):
            state = tiny_engine.base.vocabulary.state(request.grammar, completion.token_ids[:t])
            logits = small_logits if completion.delegated[t] else large_logits
            exact = legal_distribution(logits[t].numpy(), state.legal, request.sampling)
            assert completion.logprobs[t] == pytest.approx(exact.logprob(token), abs=1e-4)


def test_the_large_model_never_sees_what_it_need_not_decide(
    tiny_engine: PolicyNetwork, delegate: DraftModel, ask: Ask
) -> None:
    engine = TransformersEngine(tiny_engine, delegate=delegate)

    [completion] = engine.generate(ask(json_grammar(REPLY), [3]))

    assert engine.num_passes == completion.num_passes < delegate.num_passes
    assert sum(completion.delegated) + completion.num_passes + sum(completion.forced) == len(completion.token_ids)


def test_without_a_mark_the_large_model_decides_everything(
    tiny_engine: PolicyNetwork, delegate: DraftModel, ask: Ask
) -> None:
    unmarked: dict[str, Any] = {**REPLY, "properties": {**REPLY["properties"], "move": {"enum": ["left", "right"]}}}
    requests = ask(json_grammar(unmarked), range(5))

    delegating = TransformersEngine(tiny_engine, delegate=delegate).generate(requests)

    for got, expected in zip(delegating, TransformersEngine(tiny_engine).generate(requests), strict=True):
        assert got.token_ids == expected.token_ids
        assert got.delegated == ()
        assert np.allclose(got.logprobs, expected.logprobs, atol=1e-4)
