"""Drafts and forced tokens on vLLM.

Pinned: what is forced costs no pass, alone or under any drafter; a drafted completion is the one that is sampled
without drafts, whoever drafts; drafts that are accepted save passes; no drafter biases the distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.grammar import choice_grammar, regex_grammar
from olal.inference.speculation import DraftPath
from olal.inference.speculation.draft_model import DraftModel, DraftModelDrafter
from olal.inference.speculation.ngram import NgramDrafter
from olal.inference.vllm.engine import VllmEngine
from olal.models.causal_network import CausalNetwork
from olal.models.policy_network import PolicyNetwork
from olal.types import Completion, GenerateRequest, SamplingParams

Ask = Callable[..., list[GenerateRequest]]
MOVES = regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}')
CALL = regex_grammar(r'\{"tool":"(move|look)","arguments":\{"direction":"(left|right)","steps":[1-9]\}\}')
TEXT = regex_grammar(r'"[^"\\\x00-\x1f]{0,12}"')


class RandomDrafter:
    """Guesses any legal token, from a distribution that has nothing to do with the model's."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def propose(self, paths: Sequence[DraftPath]) -> None:
        for path in paths:
            while path.is_open:
                path.push(int(self._random.choice(path.state.legal)))

    def observe(self, tokens: tuple[int, ...]) -> None: ...


@pytest.fixture
def make_drafter(tiny_learner: PolicyNetwork) -> Callable[[str], Any]:
    def make(kind: str) -> Any:
        if kind == "draft_model":
            network = CausalNetwork(tiny_learner.base)
            return DraftModelDrafter(DraftModel(network, tiny_learner.base, cache_bytes=1 << 24, width=64))
        return {"ngram": NgramDrafter(), "suffix": NgramDrafter(num_remembered=64), "random": RandomDrafter()}[kind]

    return make


@pytest.fixture(autouse=True)
def _always_draft(vllm_engine: VllmEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether drafting pays is measured in seconds; here it is always tried."""
    monkeypatch.setattr(vllm_engine._table.meter, "wants_drafts", lambda num_rows: True)


def accepted(completions: Sequence[Completion]) -> int:
    return sum(sum(completion.drafts.accepted) for completion in completions)


def test_forced_tokens_cost_no_pass(vllm: VllmEngine, ask: Ask, scheduled: list[int]) -> None:
    completions = vllm.generate(ask(CALL, range(32)))

    decisions = {len(completion.forced) - sum(completion.forced) for completion in completions}
    assert len(scheduled) == max(decisions)
    for completion in completions:
        assert completion.num_passes == len(completion.forced) - sum(completion.forced)
        assert {lp for lp, is_forced in zip(completion.logprobs, completion.forced, strict=True) if is_forced} == {0.0}
        assert completion.num_passes < len(completion.token_ids) / 2
        assert completion.drafts.proposed == ()


def test_what_is_forced_from_beginning_to_end_never_reaches_the_model(
    vllm: VllmEngine, ask: Ask, scheduled: list[int]
) -> None:
    [completion] = vllm.generate(ask(choice_grammar(['{"moves":["left","right","forward"]}'])))

    assert completion.text == '{"moves":["left","right","forward"]}'
    assert (scheduled, completion.num_passes) == ([], 0)


def test_a_forced_run_longer_than_a_draft_takes_a_few_passes_and_stays_exact(
    vllm: VllmEngine, ask: Ask, oracle: Any, worst_gap: Callable[..., float], scheduled: list[int]
) -> None:
    long = "=" * 90
    grammar = choice_grammar([f"a{long}b", f"a{long}c", f"d{long}e", f"d{long}f"])
    requests = ask(grammar, range(6), max_tokens=300)

    completions = vllm.generate(requests)

    assert max(worst_gap(oracle, *pair) for pair in zip(requests, completions, strict=True)) < 1e-4
    assert len(completions[0].token_ids) > 64
    assert len(scheduled) <= 2 + len(completions[0].token_ids) // 32


@pytest.mark.parametrize("sampling", [(1.0, 24), (0.7, 24, 3, 0.9), (0.0, 24)], ids=str)
@pytest.mark.parametrize("kind", ["ngram", "suffix", "draft_model", "random"])
def test_a_drafted_completion_is_the_one_without_drafts(
    make_vllm: Callable[..., VllmEngine],
    make_drafter: Callable[[str], Any],
    ask: Ask,
    kind: str,
    sampling: SamplingParams,
) -> None:
    prompt = '{"moves":["left"]} {"moves":["left","right"]}\n'
    requests = [one for grammar in (MOVES, CALL, TEXT) for one in ask(grammar, range(12), prompt=prompt)]
    requests = [replace(request, sampling=SamplingParams(*sampling)) for request in requests]
    plain = make_vllm().generate(requests)

    drafted = make_vllm(drafter=make_drafter(kind)).generate(requests)

    for ours, expected in zip(drafted, plain, strict=True):
        assert (ours.token_ids, ours.forced, ours.stop_reason) == (
            expected.token_ids,
            expected.forced,
            expected.stop_reason,
        )
        assert ours.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert len(ours.drafts.proposed) == len(ours.drafts.accepted)
        # a guess that ends the sentence is right and saves nothing
        assert 0 <= ours.num_passes + sum(ours.drafts.accepted) - expected.num_passes <= 1
    assert kind in ("ngram", "suffix") or sampling[0] == 0 or accepted(drafted) > 0


def test_what_the_prompt_says_is_guessed_again(make_vllm: Callable[..., VllmEngine], ask: Ask) -> None:
    requests = ask(MOVES, range(40), prompt='{"moves":["left","left","left"]}\n{"moves":["right","right","right"]}\n')

    assert accepted(make_vllm(drafter=NgramDrafter()).generate(requests)) > 0


@pytest.mark.parametrize("kind", ["suffix", "draft_model"])
def test_accepted_drafts_save_passes(
    make_vllm: Callable[..., VllmEngine], make_drafter: Callable[[str], Any], ask: Ask, scheduled: list[int], kind: str
) -> None:
    requests = ask(TEXT, range(8), temperature=0.5)
    make_vllm().generate(requests)
    without = len(scheduled)
    engine = make_vllm(drafter=make_drafter(kind))
    engine.generate(requests)
    before = len(scheduled)

    again = engine.generate(requests)

    assert accepted(again) > 0
    assert len(scheduled) - before < without


@pytest.mark.parametrize("kind", ["suffix", "draft_model", "random"])
def test_no_drafter_biases_the_distribution(
    make_vllm: Callable[..., VllmEngine],
    make_drafter: Callable[[str], Any],
    ask: Ask,
    p_value: Callable[..., float],
    kind: str,
) -> None:
    """What vLLM's own sampler fails on a CPU, and its probabilistic drafts fail under any grammar."""
    requests = ask(choice_grammar(["a", "ab", "left", "leap", "up", "é", "è"]), range(3000), temperature=0.7)

    completions = make_vllm(drafter=make_drafter(kind)).generate(requests)

    assert accepted(completions) > 100
    assert p_value(requests[0], completions) > 0.01


def test_a_draft_that_the_scheduler_cuts_is_taken_as_far_as_it_went(
    make_vllm: Callable[..., VllmEngine], ask: Ask, scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ask(CALL, range(6))
    expected = make_vllm().generate(requests)
    monkeypatch.setattr(scheduler, "num_spec_tokens", 2)

    cut = make_vllm(drafter=NgramDrafter(num_remembered=64)).generate(requests)

    assert [completion.token_ids for completion in cut] == [completion.token_ids for completion in expected]
    assert sum(c.num_passes for c in cut) > sum(c.num_passes for c in expected)


def test_no_draft_reaches_beyond_the_length_or_the_decisions_allowed(
    make_vllm: Callable[..., VllmEngine], ask: Ask
) -> None:
    engine = make_vllm(drafter=NgramDrafter(num_remembered=64))
    [request] = ask(TEXT, [3])
    [whole] = engine.generate([request])
    for room in range(1, len(whole.token_ids) + 1):
        [cut] = engine.generate([replace(request, sampling=SamplingParams(1.0, room))])
        assert cut.error or cut.token_ids == whole.token_ids[:room]
        [paused] = engine.generate([replace(request, max_decisions=room)])
        assert paused.token_ids == whole.token_ids[: len(paused.token_ids)]
        assert len(paused.forced) - sum(paused.forced) <= room
