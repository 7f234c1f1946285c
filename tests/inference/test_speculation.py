"""Pinned: whoever drafts, and however well, what is sampled is what is sampled without drafts, token for token; drafts
are legal; what became of them is counted by position; good ones save passes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from olal.errors import ConfigError
from olal.grammar import Vocabulary, choice_grammar, json_grammar, lark_grammar, regex_grammar
from olal.inference.speculation import Drafter, DraftPath, SpeculationMeter
from olal.inference.speculation.draft_model import DraftModel, DraftModelDrafter
from olal.inference.speculation.ngram import NgramDrafter
from olal.inference.transformers_engine import TransformersEngine
from olal.models.base_model import load_base_model
from olal.models.causal_network import CausalNetwork
from olal.models.policy_network import PolicyNetwork
from olal.types import Completion, DraftStatistics, GenerateRequest, GrammarSpec, SamplingParams

Ask = Callable[..., list[GenerateRequest]]

ROLL = regex_grammar(r"[0-9](,[0-9]){8}")  # nine decisions, the comma after each is forced
MARKED = json_grammar(
    {
        "type": "object",
        "properties": {"n": {"enum": ["up", "left", "right"], "x-decision": True}, "on": {"type": "boolean"}},
        "required": ["n", "on"],
        "additionalProperties": False,
    }
)
GRAMMARS: dict[str, GrammarSpec] = {
    "choice": choice_grammar(["left", "right", "forward"]),
    "characters": choice_grammar(["é", "è", "☃", "😀", "😁"]),
    "prefixes": choice_grammar(["a", "ab", "abc", "abcd"]),
    "regex": regex_grammar(r"(left|right)( [0-9]{1,3}){0,2}"),
    "text": regex_grammar(r'"[^"\\\x00-\x1f]{0,12}"'),
    "json": MARKED,
    "recursion": lark_grammar('start: pair+\npair: "(" pair* ")"'),
    "moves": regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}'),
    "roll": ROLL,
}
SAMPLINGS = {
    "greedy": SamplingParams(temperature=0),
    "cold": SamplingParams(0.5),
    "plain": SamplingParams(),
    "hot": SamplingParams(3.0),
    "top-k": SamplingParams(2.0, top_k=3),
    "top-p": SamplingParams(2.0, top_p=0.8),
}


class Scripted:
    """Proposes what a function of the completion so far says, and writes the paths down."""

    def __init__(self, guess: Callable[[DraftPath], int | None]) -> None:
        self._guess = guess
        self.paths: list[DraftPath] = []

    def propose(self, paths: Sequence[DraftPath]) -> None:
        self.paths.extend(paths)
        for path in paths:
            while path.is_open and (token := self._guess(path)) is not None:
                path.push(token)

    def observe(self, tokens: tuple[int, ...]) -> None: ...


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Draft at every step, so that passes do not depend on how fast this machine is."""
    if "meter" not in request.node.name:
        monkeypatch.setattr(SpeculationMeter, "wants_drafts", lambda *_: True)


@pytest.fixture
def make_drafter(tiny_engine: PolicyNetwork, other_small: CausalNetwork) -> Callable[[str], Drafter]:
    def make(name: str) -> Drafter:
        if name == "ngram":
            return NgramDrafter()
        if name == "memory":
            return NgramDrafter(num_remembered=16)
        if name == "illegal":
            return Scripted(lambda path: next(t for t in range(400) if t not in path.state.legal))
        if name == "last":
            return Scripted(lambda path: int(path.state.legal[-1]))
        network = CausalNetwork(load_base_model("tiny", device="cpu")) if name == "same" else other_small
        model = DraftModel(network, tiny_engine.base, cache_bytes=1 << 22, width=64)
        return DraftModelDrafter(model, only_structure=name == "structure")

    return make


@pytest.fixture
def make(tiny_engine: PolicyNetwork, flat: Any, update_of: Any) -> Callable[..., TransformersEngine]:
    def build(drafter: Drafter | None = None, **options: Any) -> TransformersEngine:
        engine = TransformersEngine(tiny_engine, drafter=drafter, **options)
        engine.load_adapter(update_of(5, flat))
        return engine

    return build


def requests_of_all_kinds(ask: Ask, seeds: Sequence[int] = range(3)) -> list[GenerateRequest]:
    return [
        replace(request, sampling=sampling)
        for grammar, sampling in itertools.product(GRAMMARS.values(), SAMPLINGS.values())
        for request in ask(grammar, seeds)
    ]


def undrafted(completions: Sequence[Completion]) -> list[Any]:
    return [(c.token_ids, c.text, c.forced, c.stop_reason, c.error) for c in completions]


@pytest.mark.parametrize("name", ["ngram", "memory", "same", "other", "structure", "illegal", "last"])
def test_drafts_change_no_token(
    make: Callable[..., TransformersEngine], make_drafter: Callable[[str], Drafter], ask: Ask, name: str
) -> None:
    requests = requests_of_all_kinds(ask)
    expected = make().generate(requests)

    got = make(make_drafter(name), num_draft_tokens=5).generate(requests)

    assert undrafted(got) == undrafted(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        assert one.log_legal_mass == pytest.approx(other.log_legal_mass, abs=1e-4)
        assert one.delegated == ()
    proposed = sum(sum(completion.drafts.proposed) for completion in got)
    assert (proposed == 0) == (name == "illegal")
    assert {completion.drafts for completion in expected} == {DraftStatistics()} or name == "illegal"


@pytest.mark.parametrize("temperature", [0.0, 0.7, 2.0])
def test_drafted_probabilities_are_the_oracle_s(
    make: Callable[..., TransformersEngine],
    make_drafter: Callable[[str], Drafter],
    ask: Ask,
    oracle: Any,
    temperature: float,
) -> None:
    requests = [r for name in ("text", "roll", "json") for r in ask(GRAMMARS[name], range(4), temperature=temperature)]

    completions = make(make_drafter("other")).generate(requests)

    assert sum(sum(completion.drafts.accepted) for completion in completions) > 10
    for request, completion in zip(requests, completions, strict=True):
        steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, temperature)
        for t, (step, token) in enumerate(zip(steps, completion.token_ids, strict=True)):
            wanted = step.logprobs[step.legal.index(token)] if temperature else 0.0
            assert completion.logprobs[t] == pytest.approx(wanted, abs=1e-4)


def test_every_draft_is_legal(
    make: Callable[..., TransformersEngine], make_drafter: Callable[[str], Drafter], ask: Ask, vocabulary: Vocabulary
) -> None:
    inner = [make_drafter(name) for name in ("ngram", "memory", "other")]
    paths: list[tuple[GrammarSpec, tuple[int, ...]]] = []

    class Recording:
        def propose(self, given: Sequence[DraftPath]) -> None:
            for drafter in inner:
                drafter.propose(given)
            paths.extend((path.row.request.grammar, path.completion) for path in given if path.choices)

        def observe(self, tokens: tuple[int, ...]) -> None:
            for drafter in inner:
                drafter.observe(tokens)

    make(Recording()).generate(requests_of_all_kinds(ask))

    assert len(paths) > 100
    for grammar, completion in paths:
        vocabulary.state(grammar, completion)  # refuses what the grammar forbids


def test_drafts_are_counted_by_their_position(make: Callable[..., TransformersEngine], ask: Ask) -> None:
    requests = ask(ROLL, temperature=2.0)
    [whole] = make().generate(requests)

    def two_right_then_wrong(path: DraftPath) -> int:
        right = whole.token_ids[len(path.completion)]
        return right if len(path.choices) < 2 else int(next(t for t in path.state.legal if t != right))

    engine = make(Scripted(two_right_then_wrong), num_draft_tokens=4)
    before = engine.num_passes
    [drafted] = engine.generate(requests)

    # nine decisions, three a pass; the last pass has room for three guesses only
    assert drafted.token_ids == whole.token_ids
    assert (drafted.num_passes, engine.num_passes - before) == (3, 3)
    assert drafted.drafts == DraftStatistics(proposed=(3, 3, 3, 2), accepted=(3, 3, 0, 0))


@pytest.mark.parametrize("limit", [1, 2, 4, 8, 20])
def test_perfect_drafts_need_a_pass_for_as_many_decisions_as_they_guess_and_one(
    make: Callable[..., TransformersEngine], ask: Ask, limit: int
) -> None:
    requests = ask(ROLL, range(3), temperature=2.0)
    texts = {request.seed: c.token_ids for request, c in zip(requests, make().generate(requests), strict=True)}
    right = Scripted(lambda path: texts[path.row.request.seed][len(path.completion)])

    completions = make(right, num_draft_tokens=limit).generate(requests)

    for completion in completions:
        assert completion.num_passes == math.ceil(9 / (limit + 1))
        assert completion.drafts.accepted == completion.drafts.proposed


def test_a_draft_by_the_model_itself_is_always_right(
    tiny_engine: PolicyNetwork, make_drafter: Callable[[str], Drafter], ask: Ask
) -> None:
    requests = requests_of_all_kinds(ask)
    plain = TransformersEngine(tiny_engine)  # under the untrained adapter, which is the base model
    expected = plain.generate(requests)

    engine = TransformersEngine(tiny_engine, drafter=make_drafter("same"))
    got = engine.generate(requests)

    assert undrafted(got) == undrafted(expected)
    assert all(completion.drafts.accepted == completion.drafts.proposed for completion in got)
    assert engine.num_passes < plain.num_passes / 3
    assert sum(c.num_passes for c in got) < sum(c.num_passes for c in expected) / 3


def test_a_memory_knows_what_other_rows_said(
    make: Callable[..., TransformersEngine], make_drafter: Callable[[str], Drafter], ask: Ask
) -> None:
    engine = make(make_drafter("memory"))
    [first] = engine.generate(ask(GRAMMARS["moves"], [1]))

    [again] = engine.generate(ask(GRAMMARS["moves"], [1]))
    [alone] = make(make_drafter("ngram")).generate(ask(GRAMMARS["moves"], [1]))

    assert again.token_ids == first.token_ids
    assert sum(again.drafts.accepted) > sum(alone.drafts.accepted)


def test_a_memory_forgets_the_oldest(tokenizer: Any) -> None:
    drafter = NgramDrafter(num_remembered=2)
    for start in (10, 20, 30):
        drafter.observe(tuple(range(start, start + 6)))

    assert drafter._continuation((1, 20, 21)) == (22, 23, 24, 25)
    assert drafter._continuation((1, 30, 31)) == (32, 33, 34, 35)
    assert drafter._continuation((1, 10, 11)) == ()
    assert drafter._continuation((5, 6, 7, 5, 6)) == (7, 5, 6)  # its own text first
    assert drafter._continuation((5,)) == ()


def test_only_structure_leaves_marked_fields_to_the_large_model(
    make: Callable[..., TransformersEngine], make_drafter: Callable[[str], Drafter], ask: Ask, vocabulary: Vocabulary
) -> None:
    requests = ask(MARKED, range(10))

    marked = make(make_drafter("structure")).generate(requests)
    everything = make(make_drafter("other")).generate(requests)

    # two decisions: the marked one is the model's; the boolean is guessed where its turn comes
    assert {c.drafts.proposed for c in marked} <= {(1,), ()}
    assert {len(c.drafts.proposed) for c in everything} == {2}
    assert undrafted(marked) == undrafted(everything)


@pytest.mark.parametrize("room", range(1, 19))
def test_a_completion_is_cut_within_a_draft(
    make: Callable[..., TransformersEngine], make_drafter: Callable[[str], Drafter], ask: Ask, room: int
) -> None:
    requests = ask(ROLL, range(3), max_tokens=room, temperature=2.0) + ask(GRAMMARS["text"], range(3), max_tokens=room)

    for name in ("last", "other"):
        assert undrafted(make(make_drafter(name)).generate(requests)) == undrafted(make().generate(requests))


@pytest.mark.parametrize("most", range(11))
def test_drafts_do_not_go_beyond_the_decisions_asked_for(
    make: Callable[..., TransformersEngine], ask: Ask, most: int
) -> None:
    [request] = ask(ROLL, temperature=2.0)
    [whole] = make().generate([request])
    right = Scripted(lambda path: whole.token_ids[len(path.completion)])

    [got] = make(right, num_draft_tokens=3).generate([replace(request, max_decisions=most)])
    [expected] = make().generate([replace(request, max_decisions=most)])

    assert undrafted([got]) == undrafted([expected])
    assert len(got.forced) - sum(got.forced) == min(most, 9)
    assert sum(got.drafts.proposed) <= max(most - got.num_passes, 0)


def test_a_row_may_be_cancelled_or_late_between_drafts(make: Callable[..., TransformersEngine], ask: Ask) -> None:
    [request] = ask(ROLL, temperature=2.0)
    [whole] = make().generate([request])
    right = Scripted(lambda path: whole.token_ids[len(path.completion)])
    now = [0.0]
    engine = make(right, num_draft_tokens=2, clock=lambda: now[0])
    cancelled = engine.submit(request)
    late = engine.submit(replace(request, deadline_s=5.0))
    unharmed = engine.submit(request)

    assert engine.step() == []  # three decisions each
    engine.cancel(cancelled)
    now[0] = 5.0
    answers = dict(engine.step())
    while engine.num_unfinished:
        answers.update(engine.step())

    assert {key: answers[key].stop_reason for key in (cancelled, late)} == {cancelled: "cancelled", late: "deadline"}
    for key in (cancelled, late):
        assert answers[key].token_ids == whole.token_ids[:6]
        assert answers[key].drafts == DraftStatistics((1, 1), (1, 1))
    assert answers[unharmed].token_ids == whole.token_ids


def test_a_draft_model_of_another_vocabulary_is_refused(tiny_engine: PolicyNetwork) -> None:
    other = load_base_model("tiny", device="cpu")
    other.tokenizer.add_tokens(["<another>"])

    with pytest.raises(ConfigError, match="tokenizer and vocabulary of the model it drafts for"):
        DraftModel(CausalNetwork(other), tiny_engine.base, cache_bytes=1, width=1)


def run(meter: SpeculationMeter, steps: int, rates: dict[bool, float], num_rows: int = 4) -> list[bool]:
    """What the meter chose, while a step with and without drafts makes so many decisions per second."""
    chosen: list[bool] = []
    for _ in range(steps):
        chosen.append(meter.wants_drafts(num_rows))
        meter.record(num_rows, drafted=chosen[-1], num_decisions=10, duration_s=10 / rates[chosen[-1]])
    return chosen


def test_the_meter_stops_drafts_that_cost_more_than_they_give_and_starts_them_again() -> None:
    meter = SpeculationMeter()

    assert sum(run(meter, 50, {True: 50.0, False: 100.0})) == 4  # the probes
    assert sum(run(meter, 50, {True: 50.0, False: 100.0})) == 4
    assert sum(run(meter, 200, {True: 200.0, False: 100.0})) > 130
    assert sum(run(meter, 50, {True: 200.0, False: 100.0})) == 46
    assert sum(run(meter, 250, {True: 50.0, False: 100.0})) < 100


def test_the_meter_judges_wide_and_narrow_steps_apart() -> None:
    meter = SpeculationMeter()
    run(meter, 50, {True: 300.0, False: 100.0}, num_rows=1)
    run(meter, 50, {True: 50.0, False: 100.0}, num_rows=64)

    assert meter.pays(1)
    assert not meter.pays(64)
    assert meter.pays(64) == meter.pays(100)
