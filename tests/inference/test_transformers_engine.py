"""Pinned: what the transformers engine does not compute twice: contexts met before, prompts shared by rows, prefixes
shared by prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from olal.grammar import choice_grammar, regex_grammar
from olal.inference.contexts import ContextQuery, ContextRunner
from olal.inference.transformers_engine import TransformersEngine
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, GenerateRequest, Message

Ask = Callable[..., list[GenerateRequest]]

CHOICE = choice_grammar(["left", "right", "forward"])


class CountingNetwork(PolicyNetwork):
    """Writes down the rows and tokens of every pass; counts a pass as dear as that of a larger model."""

    pass_cost_tokens = 24

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__(network.base, network.bank)
        self.passes: list[list[int]] = []

    def extend(
        self,
        past: Sequence[torch.Tensor | None],
        new: Sequence[Sequence[int]],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        self.passes.append([len(tokens) for tokens in new])
        return super().extend(past, new, wanted)


@pytest.fixture
def network(tiny_engine: PolicyNetwork) -> CountingNetwork:
    return CountingNetwork(tiny_engine)


def first_decision(ask: Ask, prompt: str, seeds: Sequence[int]) -> list[GenerateRequest]:
    """Requests that stop after their first decision."""
    return ask(CHOICE, seeds, prompt=prompt, max_tokens=1)


def test_rows_with_the_same_prompt_share_one_row_of_one_pass(network: CountingNetwork, ask: Ask) -> None:
    requests = first_decision(ask, "lake row=0 col=0\n", range(50))

    engine = TransformersEngine(network)
    engine.generate(requests)

    assert network.passes == [[len(requests[0].prompt_token_ids)]]
    assert engine.num_passes == 1
    assert engine.num_decisions == 50


def test_prompts_with_a_common_beginning_run_it_once(network: CountingNetwork, ask: Ask) -> None:
    prompts = [f"grid x=0 y=0 facing north grid x={x} y=0 facing east\n" for x in range(4)]
    requests = [first_decision(ask, prompt, [0])[0] for prompt in prompts]

    TransformersEngine(network).generate(requests)

    lengths = {len(request.prompt_token_ids) for request in requests}
    [shared], rest = network.passes
    assert shared >= 10
    assert rest == [lengths.pop() - shared] * 4


def test_a_context_met_before_costs_nothing(network: CountingNetwork, ask: Ask) -> None:
    engine = TransformersEngine(network)
    requests = ask(CHOICE, range(20))
    expected = engine.generate(requests)
    network.passes.clear()

    assert engine.generate(requests) == expected
    assert network.passes == []


def test_a_longer_prompt_continues_a_shorter_one(network: CountingNetwork, ask: Ask) -> None:
    engine = TransformersEngine(network)
    [short] = first_decision(ask, "lake row=0 col=0\n", [0])
    [long] = first_decision(ask, "lake row=0 col=0\nright\n", [0])
    engine.generate([short])

    engine.generate([long])

    assert network.passes[1] == [len(long.prompt_token_ids) - len(short.prompt_token_ids)]


def test_forced_tokens_ride_along_with_the_next_decision(network: CountingNetwork, ask: Ask) -> None:
    grammar = regex_grammar(r'\{"moves":\["(left|right)"\]\}')
    [request] = ask(grammar)

    [completion] = TransformersEngine(network).generate([request])

    forced_before = completion.forced.index(False)
    assert forced_before >= 3
    assert network.passes[0] == [len(request.prompt_token_ids) + forced_before]


def test_no_pass_is_wider_than_the_batch_allows(network: CountingNetwork, ask: Ask) -> None:
    requests = [first_decision(ask, f"lake row={i % 10} col={i // 10}\n", [0])[0] for i in range(10)]

    TransformersEngine(network, max_batch=4).generate(requests)

    assert [len(rows) for rows in network.passes] == [4, 4, 2]


def test_a_swap_forgets_the_contexts_of_the_old_adapter(network: CountingNetwork, ask: Ask) -> None:
    engine = TransformersEngine(network)
    requests = first_decision(ask, "lake row=0 col=0\n", [0])
    engine.generate(requests)

    flat = network.bank.initial + 1
    engine.load_adapter(AdapterUpdate(1, network.bank.layout.digest(flat), flat))
    engine.generate(requests)

    assert len(network.passes) == 2


def test_a_fresh_engine_acts_under_the_initial_adapter(tiny_engine: PolicyNetwork, ask: Ask) -> None:
    tiny_engine.bank.use(torch.zeros(tiny_engine.bank.layout.num_parameters))

    engine = TransformersEngine(tiny_engine)

    assert engine.adapter_version == 0
    assert engine.adapter_digest == tiny_engine.bank.layout.digest(tiny_engine.bank.initial)


def test_without_a_chat_template_contents_are_joined_by_line_breaks(
    make_network: Callable[..., PolicyNetwork], tokenizer
) -> None:
    network = make_network()
    network.base.tokenizer.chat_template = None

    tokens = TransformersEngine(network).encode([Message("system", "Go."), Message("user", "lake row=0")])

    assert tokens == tuple(tokenizer.encode("Go.\nlake row=0\n").ids)


def test_a_chat_template_without_a_system_role_gets_the_instructions_with_the_first_message(
    make_network: Callable[..., PolicyNetwork], tokenizer
) -> None:
    network = make_network()
    network.base.tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}{% endfor %}"
    )

    tokens = TransformersEngine(network).encode([Message("system", "Go."), Message("user", "lake row=0")])

    assert tokens == tuple(tokenizer.encode("<user>Go.\n\nlake row=0").ids)


def test_a_kept_context_does_not_hold_on_to_its_batch(tiny_engine: PolicyNetwork, ask: Ask) -> None:
    runner = ContextRunner(tiny_engine, lambda _: None, cache_bytes=1 << 20, width=8)
    queries = [ContextQuery("", tuple(range(10, 10 + length)), (length,)) for length in (40, 3)]

    runner.run(queries)
    short = runner.cache.get("", (10, 11, 12))

    assert short.past.untyped_storage().nbytes() == short.past.nbytes


def test_a_context_nobody_will_meet_again_is_not_kept(network: CountingNetwork, ask: Ask) -> None:
    engine = TransformersEngine(network)
    requests = ask(regex_grammar("[a-z]{40}"), [3], temperature=5.0)
    engine.generate(requests)
    passes = len(network.passes)

    engine.generate(requests)

    assert 0 < len(network.passes) - passes < passes


def test_an_engine_fills_the_bank_again_after_somebody_else_did(tiny_engine: PolicyNetwork, ask: Ask) -> None:
    requests = [first_decision(ask, f"lake row={row} col=0\n", [0])[0] for row in range(2)]
    expected = TransformersEngine(tiny_engine).generate(requests)
    engine = TransformersEngine(tiny_engine)

    first = engine.generate(requests[:1])
    tiny_engine.bank.use(torch.full((tiny_engine.bank.layout.num_parameters,), 0.3))
    second = engine.generate(requests[1:])

    for got, wanted in zip([*first, *second], expected, strict=True):
        assert got.logprobs == pytest.approx(wanted.logprobs, abs=1e-5)
