"""Pinned, for every engine: token ids go in and out; each completion is a sentence of its grammar; log-probabilities
are exact over the legal tokens under the current adapter; forced tokens are free; a draw depends on its seed alone;
refusals leave the engine as it was.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from olal.errors import AdapterMismatch, ConfigError
from olal.grammar import Vocabulary, choice_grammar, json_grammar, lark_grammar, regex_grammar
from olal.inference import Engine
from olal.types import (
    AdapterUpdate,
    Completion,
    GenerateRequest,
    GrammarSpec,
    Message,
    SamplingParams,
    ScoreRequest,
)

Ask = Callable[..., list[GenerateRequest]]

MOVES = ["left", "right", "forward"]
OBJECT = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 8, "maximum": 120}, "on": {"type": "boolean"}},
    "required": ["n", "on"],
    "additionalProperties": False,
}


def is_object(text: str) -> bool:
    value = json.loads(text)
    return set(value) == {"n", "on"} and 8 <= value["n"] <= 120 and isinstance(value["on"], bool)


def is_balanced(text: str) -> bool:
    while "()" in text:
        text = text.replace("()", "")
    return not text


SENTENCES: dict[str, tuple[GrammarSpec, Callable[[str], Any]]] = {
    "choice": (choice_grammar(MOVES), MOVES.__contains__),
    "split characters": (choice_grammar(["é", "è", "☃", "😀", "😁"]), "éè☃😀😁".__contains__),
    "prefixes": (choice_grammar(["a", "ab", "abc", "abcd"]), "abcd".startswith),
    "regex": (regex_grammar(r"(left|right)( [0-9]{1,3}){0,2}"), re.compile(r"(left|right)( \d{1,3}){0,2}").fullmatch),
    "text": (regex_grammar(r'"[^"\\\x00-\x1f]{0,12}"'), lambda text: len(json.loads(text)) <= 12),
    "json": (json_grammar(OBJECT), is_object),
    "recursion": (lark_grammar('start: pair+\npair: "(" pair* ")"'), is_balanced),
    "moves": (
        regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}'),
        lambda text: 1 <= len(json.loads(text)["moves"]) <= 4,
    ),
}


def decisions(completion: Completion) -> int:
    return len(completion.forced) - sum(completion.forced)


def alike(first: list[Completion], second: list[Completion]) -> bool:
    """Whether the same was sampled, with the same probabilities up to rounding, which depends on the batch."""
    return all(
        one.token_ids == other.token_ids and np.allclose(one.logprobs, other.logprobs, atol=1e-4)
        for one, other in zip(first, second, strict=True)
    )


def mismatch(completion: Completion, request: GenerateRequest, oracle: Any) -> float:
    """Largest difference between an engine's numbers and the oracle's; infinite where forced tokens differ."""
    steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, request.sampling.temperature)
    worst = 0.0
    for t, step in enumerate(steps):
        chosen = step.logprobs[step.legal.index(completion.token_ids[t])]
        if request.sampling.temperature == 0:
            chosen = 0.0  # a greedy draw has no alternative
        if completion.forced[t] != (len(step.legal) == 1):
            return np.inf
        mass = 0.0 if completion.forced[t] else step.log_legal_mass
        worst = max(worst, abs(chosen - completion.logprobs[t]), abs(mass - completion.log_legal_mass[t]))
    return worst


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("name", SENTENCES)
def test_every_completion_is_a_sentence_with_exact_probabilities(
    engine: Engine, oracle: Any, vocabulary: Vocabulary, ask: Ask, name: str, temperature: float
) -> None:
    grammar, is_sentence = SENTENCES[name]
    requests = ask(grammar, range(12), temperature=temperature)

    completions = engine.generate(requests)

    for request, completion in zip(requests, completions, strict=True):
        assert vocabulary.state(grammar, completion.token_ids).is_complete == (completion.stop_reason == "grammar")
        assert completion.stop_reason == "length" or is_sentence(completion.text)
        assert mismatch(completion, request, oracle) < 1e-4
    assert temperature == 0 or len({completion.text for completion in completions}) > 1


def test_a_completion_is_parallel_and_its_tokens_spell_its_text(
    engine: Engine, vocabulary: Vocabulary, tokenizer: Any, ask: Ask
) -> None:
    [completion] = engine.generate(ask(SENTENCES["moves"][0]))

    columns = (completion.logprobs, completion.forced, completion.log_legal_mass)
    assert {len(column) for column in columns} == {len(completion.token_ids)}
    assert completion.token_ids[-1] == vocabulary.eos_token_id
    assert completion.text == tokenizer.decode(completion.token_ids[:-1])
    assert completion.adapter_version == engine.adapter_version == 5


def test_a_text_keeps_the_blanks_that_a_tokenizer_would_strip(engine: Engine, ask: Ask) -> None:
    grammar = choice_grammar([" left .", "  right , no n't"])

    assert {c.text for c in engine.generate(ask(grammar, range(20), temperature=5.0))} == {
        " left .",
        "  right , no n't",
    }


def test_forced_tokens_are_certain_and_cost_no_pass(engine: Engine, ask: Ask) -> None:
    before = engine.num_passes

    [completion] = engine.generate(ask(choice_grammar(['{"moves":["left","right","forward"]}'])))

    assert completion.text == '{"moves":["left","right","forward"]}'
    assert completion.forced == (True,) * len(completion.token_ids)
    assert set(completion.logprobs) | set(completion.log_legal_mass) == {0.0}
    assert completion.num_passes == 0
    assert engine.num_passes == before


def test_a_completion_waits_for_one_pass_per_decision(engine: Engine, ask: Ask) -> None:
    before = engine.num_passes

    [completion] = engine.generate(ask(SENTENCES["moves"][0]))

    assert completion.num_passes == decisions(completion) == engine.num_passes - before
    assert completion.num_passes < len(completion.token_ids) / 2


def test_a_seed_draws_the_same_again_and_seeds_differ(make_engine: Callable[..., Engine], ask: Ask) -> None:
    requests = ask(SENTENCES["text"][0], range(30))

    first, second = make_engine().generate(requests), make_engine().generate(requests)

    assert first == second
    assert len({completion.text for completion in first}) > 20


def test_a_draw_does_not_depend_on_its_batch(make_engine: Callable[..., Engine], ask: Ask) -> None:
    [request] = ask(SENTENCES["text"][0], [7], prompt="grid x=1 y=2 facing north\n")
    others = [one for grammar, _ in SENTENCES.values() for one in ask(grammar, range(3), prompt="blackjack sum=4 dea")]

    [alone] = make_engine().generate([request])
    crowded = make_engine().generate([*others[:9], request, *others[9:]])[9]

    assert crowded.token_ids == alone.token_ids
    assert crowded.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{"kv_cache_bytes": 1}, {"kv_cache_bytes": 60_000}, {"max_batch": 1}, {"max_batch": 3}], ids=str
)
def test_a_small_cache_or_batch_changes_nothing(
    make_engine: Callable[..., Engine], ask: Ask, options: dict[str, int]
) -> None:
    prompts = ["lake row=0 col=0\n", "lake row=0 col=1\n", "grid x=1 y=1 facing west\n", "l"]
    requests = [one for text in prompts for one in ask(SENTENCES["text"][0], range(4), prompt=text)]
    expected = make_engine().generate(requests)

    engine = make_engine(**options)

    for _ in range(2):
        for got, wanted in zip(engine.generate(requests), expected, strict=True):
            assert got.token_ids == wanted.token_ids
            assert got.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)


def all_paths(vocabulary: Vocabulary, grammar: GrammarSpec) -> list[tuple[int, ...]]:
    """Every token sequence that spells a sentence."""
    paths, stack = [], [()]
    while stack:
        prefix = stack.pop()
        state = vocabulary.state(grammar, prefix)
        paths.extend([prefix] if state.is_complete else [])
        stack.extend((*prefix, int(token)) for token in state.legal)
    return paths


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_samples_follow_the_exact_distribution(
    engine: Engine, oracle: Any, vocabulary: Vocabulary, ask: Ask, temperature: float
) -> None:
    grammar, count = choice_grammar(["a", "ab", "left", "leap", "up", "é", "è"]), 6000
    requests = ask(grammar, [(i << 32) + 3 for i in range(count)], temperature=temperature)
    exact: Counter[tuple[int, ...]] = Counter()
    for path in all_paths(vocabulary, grammar):
        steps = oracle.steps(requests[0].prompt_token_ids, grammar, path, temperature)
        exact[path] = np.exp(sum(s.logprobs[s.legal.index(token)] for s, token in zip(steps, path, strict=True)))

    seen = Counter(completion.token_ids for completion in engine.generate(requests))

    frequent = [path for path in exact if exact[path] * count >= 5]
    observed = np.array([seen[path] for path in frequent])
    expected = np.array([exact[path] for path in frequent])
    assert sum(exact.values()) == pytest.approx(1)
    assert len(frequent) >= 6
    assert observed.sum() / count == pytest.approx(expected.sum(), abs=0.01)
    assert scipy.stats.chisquare(observed, expected / expected.sum() * observed.sum()).pvalue > 0.01


@pytest.mark.parametrize("name", SENTENCES)
def test_temperature_zero_takes_the_most_likely_token(engine: Engine, oracle: Any, ask: Ask, name: str) -> None:
    [request] = ask(SENTENCES[name][0], temperature=0.0)

    [completion] = engine.generate([request])

    steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, 0.0)
    assert [step.legal[int(np.argmax(step.logprobs))] for step in steps] == [*completion.token_ids]


def test_a_completion_is_cut_at_its_length(engine: Engine, ask: Ask) -> None:
    grammar = SENTENCES["moves"][0]
    [whole] = engine.generate(ask(grammar, [3]))

    for room in range(1, len(whole.token_ids) + 2):
        [cut] = engine.generate(ask(grammar, [3], max_tokens=room))
        assert cut.token_ids == whole.token_ids[:room]
        assert cut.logprobs == whole.logprobs[:room]
        assert cut.stop_reason == ("grammar" if room >= len(whole.token_ids) else "length" if room >= 7 else "error")
        assert whole.text.startswith(cut.text)


NO_SENTENCE = {
    "endless": lark_grammar('start: "left" start'),
    "brackets": lark_grammar('start: "(" start ")"'),
    "forced": choice_grammar(["left right forward " * 20]),
}


@pytest.mark.parametrize("name", NO_SENTENCE)
def test_a_grammar_without_a_sentence_so_short_is_told_from_a_cut(engine: Engine, ask: Ask, name: str) -> None:
    impossible = ask(NO_SENTENCE[name], max_tokens=9)
    possible = ask(regex_grammar(r'"[a-z]{5,200}"'), max_tokens=6, temperature=9.0)

    refused, cut = engine.generate([*impossible, *possible])

    assert refused.stop_reason == "error"
    assert "no sentence of at most 9 tokens" in refused.error
    assert (cut.stop_reason, len(cut.token_ids)) == ("length", 6)


def test_grammars_and_temperatures_may_differ_within_a_batch(engine: Engine, oracle: Any, ask: Ask) -> None:
    grammars = [choice_grammar(["left", "right"]), choice_grammar(["left", "up"]), regex_grammar("[a-z]{4,5}")]
    requests = [
        ask(grammar, [seed], temperature=temperature)[0]
        for grammar, temperature, seed in itertools.product(grammars, (0.0, 0.5, 2.0), range(3))
    ]

    for request, completion in zip(requests, engine.generate(requests), strict=True):
        assert mismatch(completion, request, oracle) < 1e-4


def test_after_a_swap_nothing_of_the_old_adapter_remains(
    engine: Engine,
    ask: Ask,
    make_oracle: Callable[[np.ndarray], Any],
    flat: np.ndarray,
    random_flat: Callable[..., np.ndarray],
    update_of: Callable[..., AdapterUpdate],
    tiny_engine: Any,
) -> None:
    other, requests = random_flat(tiny_engine, seed=22), ask(SENTENCES["moves"][0], range(10))
    before = engine.generate(requests)

    engine.load_adapter(update_of(6, other))
    after = engine.generate(requests)

    assert max(mismatch(c, r, make_oracle(other)) for c, r in zip(after, requests, strict=True)) < 1e-4
    assert max(mismatch(c, r, make_oracle(flat)) for c, r in zip(after, requests, strict=True)) > 1e-2
    assert {completion.adapter_version for completion in after} == {6}
    engine.load_adapter(update_of(5, flat))
    assert alike(engine.generate(requests), before)


def test_the_adapter_is_a_copy_of_what_was_handed_over(
    engine: Engine, ask: Ask, flat: np.ndarray, update_of: Callable[..., AdapterUpdate]
) -> None:
    handed, requests = flat.copy(), ask(SENTENCES["text"][0], range(5))
    engine.load_adapter(update_of(7, handed))
    expected = engine.generate(requests)

    engine.load_adapter(update_of(8, flat * 0))
    engine.load_adapter(update_of(7, handed))
    handed[:] = 0

    assert alike(engine.generate(requests), expected)


@pytest.mark.parametrize("damage", ["digest", "value", "size", "dtype"])
def test_an_adapter_that_does_not_match_is_refused(
    engine: Engine, ask: Ask, flat: np.ndarray, update_of: Callable[..., AdapterUpdate], damage: str
) -> None:
    requests = ask(SENTENCES["text"][0], range(5))
    before, digest = engine.generate(requests), update_of(6, flat * 2).digest
    wrong = {
        "digest": AdapterUpdate(6, "0" * 16, flat * 2),
        "value": AdapterUpdate(6, digest, np.nextafter(flat * 2, 0)),
        "size": AdapterUpdate(6, digest, (flat * 2)[:-1]),
        "dtype": AdapterUpdate(6, digest, (flat * 2).astype(np.float64)),
    }

    with pytest.raises(AdapterMismatch):
        engine.load_adapter(wrong[damage])

    assert engine.adapter_version == 5
    assert engine.adapter_digest == update_of(5, flat).digest
    assert alike(engine.generate(requests), before)


def test_a_prompt_without_room_is_told_how_long_it_may_be(engine: Engine, tiny_engine: Any, ask: Ask) -> None:
    most = tiny_engine.base.network.config.max_position_embeddings
    [request] = ask(SENTENCES["choice"][0], prompt="0" * (most - 4), max_tokens=8)

    [refused] = engine.generate([request])
    [completion] = engine.generate(ask(SENTENCES["choice"][0], prompt="0" * (most - 8), max_tokens=8))

    assert re.search(rf"need {most + 4} tokens, the model holds {most}; .*max_tokens", refused.error)
    assert completion.text in MOVES


WRONG = {
    "empty prompt": (lambda good: replace(good, prompt_token_ids=()), "at least one token"),
    "long prompt": (lambda good: replace(good, prompt_token_ids=(5,) * 5000), "the model holds"),
    "bad pattern": (lambda good: replace(good, grammar=regex_grammar("(")), "compile"),
    "unknown adapter": (lambda good: replace(good, adapter="f" * 16), "no adapter of this digest"),
    "illegal prefix": (lambda good: replace(good, prefix=(3, 3, 3, 3)), "forbids"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_one_request_is_told_in_its_answer_and_harms_no_other(
    make_engine: Callable[..., Engine], ask: Ask, name: str
) -> None:
    make_bad, reason = WRONG[name]
    good = ask(SENTENCES["text"][0], range(4))
    expected = make_engine().generate(good)

    answers = make_engine().generate([*good[:2], make_bad(good[0]), *good[2:]])

    refused = answers.pop(2)
    assert (refused.stop_reason, refused.token_ids) == ("error", ())
    assert re.search(reason, refused.error)
    assert "\n" not in refused.error
    assert alike(answers, expected)


def test_nothing_to_do_is_done(engine: Engine) -> None:
    assert engine.generate([]) == []


def test_messages_become_tokens_by_the_chat_template(engine: Engine, tokenizer: Any) -> None:
    messages = [Message("system", "Reach the goal."), Message("user", "lake row=0 col=0")]

    assert engine.encode(messages) == tuple(tokenizer.encode("lake row=0 col=0\n").ids)


def finish(engine: Engine, answers: dict[int, Completion] | None = None) -> dict[int, Completion]:
    """Step until nothing is left; completions by id."""
    answers = answers or {}
    while engine.num_unfinished:
        answers.update(engine.step())
    return answers


def same(got: Completion, expected: Completion) -> bool:
    """Whether two completions agree up to rounding and the passes they took."""
    return (got.token_ids, got.text, got.forced, got.stop_reason) == (
        expected.token_ids,
        expected.text,
        expected.forced,
        expected.stop_reason,
    ) and alike([got], [expected])


def test_requests_come_and_go_and_each_is_what_it_would_be_alone(make_engine: Callable[..., Engine], ask: Ask) -> None:
    requests = [one for grammar, _ in SENTENCES.values() for one in ask(grammar, range(3))]
    expected = make_engine().generate(requests)
    engine = make_engine(max_batch=4)
    waiting, ids, answers = list(requests), [], {}

    while waiting or engine.num_unfinished:
        ids += [engine.submit(waiting.pop(0)) for _ in range(min(3, len(waiting)))]
        assert engine.num_unfinished == len(ids) - len(answers)
        answers.update(engine.step())

    assert sorted(answers) == sorted(set(ids))
    assert all(same(answers[key], wanted) for key, wanted in zip(ids, expected, strict=True))
    assert engine.step() == []


def test_a_finished_row_is_replaced_at_once(make_engine: Callable[..., Engine], ask: Ask) -> None:
    # one decision each: two rows at a time need one step per pair, and one more to find that none is left
    engine = make_engine(max_batch=2)
    ids = [engine.submit(request) for request in ask(choice_grammar(["0", "1"]), range(8))]

    steps, answers = 0, dict[int, Completion]()
    while engine.num_unfinished:
        answers.update(engine.step())
        steps += 1

    assert sorted(answers) == ids
    assert steps <= 5


def test_generate_leaves_those_submitted_before_to_their_steps(make_engine: Callable[..., Engine], ask: Ask) -> None:
    early, late = ask(SENTENCES["text"][0], [1]), ask(SENTENCES["moves"][0], range(4))
    expected = make_engine().generate([*early, *late])
    engine = make_engine()
    key = engine.submit(early[0])

    completions = engine.generate(late)

    assert all(same(got, wanted) for got, wanted in zip(completions, expected[1:], strict=True))
    assert engine.num_unfinished == 1
    assert same(finish(engine)[key], expected[0])


def test_a_cancelled_request_tells_what_there_is_of_it(make_engine: Callable[..., Engine], ask: Ask) -> None:
    [request] = ask(regex_grammar("[a-z]{40}"), max_tokens=64)
    [whole] = make_engine().generate([request])
    engine = make_engine()
    stopped, other = engine.submit(request), engine.submit(request)
    for _ in range(4):
        assert engine.step() == []

    engine.cancel(stopped)
    answers = finish(engine)

    assert answers[stopped].stop_reason == "cancelled"
    assert 0 < len(answers[stopped].token_ids) < len(whole.token_ids)
    assert whole.token_ids[: len(answers[stopped].token_ids)] == answers[stopped].token_ids
    assert same(answers[other], whole)
    engine.cancel(stopped)  # returned already
    engine.cancel(12345)
    assert engine.num_unfinished == 0


def test_a_request_cancelled_before_its_first_step_is_empty(make_engine: Callable[..., Engine], ask: Ask) -> None:
    engine = make_engine(max_batch=1)
    first, second = (engine.submit(request) for request in ask(SENTENCES["text"][0], range(2)))

    engine.cancel(second)
    answers = finish(engine)

    assert (answers[second].stop_reason, answers[second].token_ids) == ("cancelled", ())
    assert answers[first].stop_reason == "grammar"


def test_a_deadline_stops_one_request_with_what_there_is(make_engine: Callable[..., Engine], ask: Ask) -> None:
    [request] = ask(regex_grammar("[a-z]{40}"))
    [whole] = make_engine().generate([request])

    late, patient = make_engine().generate([replace(request, deadline_s=0.0), replace(request, deadline_s=600.0)])

    assert late.stop_reason == "deadline"
    assert len(late.token_ids) < len(whole.token_ids)
    assert whole.token_ids[: len(late.token_ids)] == late.token_ids
    assert same(patient, whole)


@pytest.mark.parametrize("name", SENTENCES)
def test_a_paused_completion_goes_on_as_if_it_never_stopped(
    make_engine: Callable[..., Engine], ask: Ask, name: str
) -> None:
    requests = ask(SENTENCES[name][0], range(4), temperature=2.0)
    engine = make_engine()

    for request, whole in zip(requests, engine.generate(requests), strict=True):
        parts: list[Completion] = []
        while not parts or parts[-1].stop_reason == "paused":
            done = tuple(token for part in parts for token in part.token_ids)
            parts += engine.generate([replace(request, prefix=done, max_decisions=2)])
        assert tuple(token for part in parts for token in part.token_ids) == whole.token_ids
        assert sum((part.forced for part in parts), ()) == whole.forced
        assert sum((part.logprobs for part in parts), ()) == pytest.approx(whole.logprobs, abs=1e-4)
        assert sum((part.log_legal_mass for part in parts), ()) == pytest.approx(whole.log_legal_mass, abs=1e-4)
        assert {decisions(part) for part in parts[:-1]} <= {2}
        assert parts[-1].stop_reason == whole.stop_reason


def test_no_decision_allowed_leaves_what_is_forced(engine: Engine, ask: Ask) -> None:
    [request] = ask(SENTENCES["moves"][0])

    [paused] = engine.generate([replace(request, max_decisions=0)])

    assert (paused.text, paused.stop_reason, paused.num_passes) == ('{"moves":["', "paused", 0)
    assert set(paused.forced) == {True}


@pytest.mark.parametrize("cuts", [{"top_k": 3}, {"top_p": 0.7}, {"top_k": 5, "top_p": 0.8}], ids=str)
@pytest.mark.parametrize("name", ["text", "regex", "prefixes"])
def test_cuts_leave_the_likely_tokens_with_exact_probabilities(
    engine: Engine, oracle: Any, ask: Ask, name: str, cuts: dict[str, Any]
) -> None:
    requests = ask(SENTENCES[name][0], range(10), temperature=2.0)
    requests = [replace(request, sampling=replace(request.sampling, **cuts)) for request in requests]

    for request, completion in zip(requests, engine.generate(requests), strict=True):
        steps = oracle.steps(request.prompt_token_ids, request.grammar, completion.token_ids, 2.0)
        for t, step in enumerate(steps):
            ranked = sorted(zip(step.logprobs, step.legal, strict=True), reverse=True)[: cuts.get("top_k", 0) or None]
            total = sum(np.exp(logprob) for logprob, _ in ranked)
            before = np.cumsum([0.0, *(np.exp(logprob) / total for logprob, _ in ranked)])[:-1]
            left = {token: lp for (lp, token), b in zip(ranked, before, strict=True) if b < cuts.get("top_p", 1)}
            wanted = left[completion.token_ids[t]] - np.log(sum(np.exp(value) for value in left.values()))
            assert completion.logprobs[t] == pytest.approx(wanted, abs=1e-4)


def test_scores_equal_what_was_sampled(engine: Engine, ask: Ask) -> None:
    samplings = [SamplingParams(0.7), SamplingParams(2.0, top_k=4), SamplingParams(top_p=0.9), SamplingParams(0)]
    requests = [
        replace(one, sampling=sampling)
        for (grammar, _), sampling in itertools.product(SENTENCES.values(), samplings)
        for one in ask(grammar, range(2))
    ]
    completions = engine.generate(requests)

    scores = engine.score(
        [
            ScoreRequest(r.prompt_token_ids, c.token_ids, r.grammar, r.sampling)
            for r, c in zip(requests, completions, strict=True)
        ]
    )

    for score, completion in zip(scores, completions, strict=True):
        assert score.forced == completion.forced
        assert score.logprobs == pytest.approx(completion.logprobs, abs=1e-4)
        assert score.log_legal_mass == pytest.approx(completion.log_legal_mass, abs=1e-4)


def test_adapters_in_one_batch_each_follow_their_own_oracle(
    engine: Engine, ask: Ask, make_oracle: Any, flat: np.ndarray, update_of: Callable[..., AdapterUpdate]
) -> None:
    flats = {None: flat} | {update_of(0, flat * scale).digest: flat * scale for scale in (0.5, -1.0)}
    for version, (digest, values) in enumerate(flats.items(), 5):
        if digest is not None:
            engine.load_adapter(update_of(version, values), is_current=False)
    kinds = itertools.product(flats, ("text", "moves"), range(3))
    requests = [replace(ask(SENTENCES[name][0], [seed])[0], adapter=digest) for digest, name, seed in kinds]

    completions = engine.generate(requests)

    assert engine.adapter_version == 5
    for request, completion in zip(requests, completions, strict=True):
        assert mismatch(completion, request, make_oracle(flats[request.adapter])) < 1e-4
        assert completion.adapter_version == 5 + list(flats).index(request.adapter)


def test_requests_in_flight_keep_their_adapter(
    make_engine: Callable[..., Engine], ask: Ask, flat: np.ndarray, update_of: Callable[..., AdapterUpdate]
) -> None:
    requests = ask(SENTENCES["text"][0], range(4))
    engine = make_engine()
    expected_old = engine.generate(requests)
    engine.load_adapter(update_of(6, flat * 0.5))
    expected_new = engine.generate(requests)
    engine.load_adapter(update_of(5, flat))
    old = [engine.submit(request) for request in requests]
    answers = dict(engine.step())

    engine.load_adapter(update_of(6, flat * 0.5))
    new = [engine.submit(request) for request in requests]
    answers = finish(engine, answers)

    assert all(
        same(answers[key], wanted) for key, wanted in zip([*old, *new], [*expected_old, *expected_new], strict=True)
    )
    assert [answers[key].adapter_version for key in [*old, *new]] == [5] * 4 + [6] * 4


def test_an_adapter_can_be_unloaded_when_nobody_uses_it(
    engine: Engine, ask: Ask, flat: np.ndarray, update_of: Callable[..., AdapterUpdate]
) -> None:
    other = update_of(6, flat * 0.5)
    engine.load_adapter(other, is_current=False)
    request = replace(ask(SENTENCES["text"][0])[0], adapter=other.digest)
    key = engine.submit(request)

    with pytest.raises(ConfigError, match="in flight"):
        engine.unload_adapter(other.digest)
    with pytest.raises(ConfigError, match="current"):
        engine.unload_adapter(engine.adapter_digest)
    assert finish(engine)[key].stop_reason == "grammar"
    engine.unload_adapter(other.digest)
    engine.unload_adapter("f" * 16)

    [refused] = engine.generate([request])
    assert "no adapter" in refused.error
    assert engine.adapter_digest == update_of(5, flat).digest
