"""Pinned: the legal set after a prefix does not depend on what was asked before, in which order, or how many branches
left the same prefix; a step costs the same wherever it is taken; characters and terminals may be cut anywhere.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar, json_grammar, lark_grammar, regex_grammar
from olal.types import GrammarSpec

NESTED = json_grammar({"type": "array", "items": {"$ref": "#"}})
Legal = list[int]


def legal_afresh(vocabulary: Vocabulary, grammar: GrammarSpec, prefix: tuple[int, ...]) -> Legal:
    """The library asked directly: a new matcher, the whole prefix, one mask."""
    matcher = LLMatcher(vocabulary._tokenizer, grammar.text, log_level=0)
    assert not prefix or matcher.consume_tokens(list(prefix))
    mask = int.from_bytes(matcher.compute_bitmask(), "little")
    return [token for token in range(vocabulary.size) if mask >> token & 1] or [vocabulary.eos_token_id]


def random_path(vocabulary: Vocabulary, grammar: GrammarSpec, rng: random.Random, most: int) -> tuple[int, ...]:
    prefix: tuple[int, ...] = ()
    while len(prefix) < most and not (state := vocabulary.state(grammar, prefix)).is_complete:
        prefix = (*prefix, int(rng.choice(state.legal)))
    return prefix


@given(st.integers(0, 49), st.randoms(use_true_random=False))
def test_the_legal_set_is_that_of_a_fresh_matcher(
    make_vocabulary: Callable[..., Vocabulary], corpus: list[Any], number: int, rng: random.Random
) -> None:
    grammar, vocabulary = corpus[number].spec, make_vocabulary(max_cached_ids=rng.choice([500, 1_000_000]))
    paths = [random_path(vocabulary, grammar, rng, 12) for _ in range(3)]
    prefixes = [path[:i] for path in paths for i in range(len(path) + 1)]
    rng.shuffle(prefixes)

    for prefix in prefixes:
        if not prefix or prefix[-1] != vocabulary.eos_token_id:
            assert vocabulary.state(grammar, prefix).legal.tolist() == legal_afresh(vocabulary, grammar, prefix)


def test_branches_off_a_long_prefix_do_not_disturb_each_other(make_vocabulary: Callable[..., Vocabulary]) -> None:
    vocabulary, grammar = make_vocabulary(), regex_grammar("([ab]{3}[cd])*")
    trunk: tuple[int, ...] = ()
    while len(trunk) < 320:
        legal = vocabulary.state(grammar, trunk).legal
        trunk = (*trunk, int(legal[legal != vocabulary.eos_token_id][len(trunk) % 2]))

    branches = [(*trunk, int(token)) for token in vocabulary.state(grammar, trunk).legal[:4]]

    for _ in range(2):
        for branch in branches:
            if branch[-1] != vocabulary.eos_token_id:
                assert vocabulary.state(grammar, branch).legal.tolist() == legal_afresh(vocabulary, grammar, branch)
    assert vocabulary.state(grammar, trunk).legal.tolist() == legal_afresh(vocabulary, grammar, trunk)


def test_a_step_at_the_end_costs_about_what_one_at_the_beginning_does(
    make_vocabulary: Callable[..., Vocabulary],
) -> None:
    vocabulary, grammar = make_vocabulary(), regex_grammar("[a-z ]*")
    letter = int(vocabulary.state(grammar, ()).legal[-1])

    def seconds(length: int) -> float:
        prefix = (letter,) * length
        vocabulary.state(grammar, prefix)
        started = time.perf_counter()
        for i in range(100):
            vocabulary.state(grammar, (*prefix, *(letter,) * (i + 1)))
        return time.perf_counter() - started

    assert min(seconds(4000) for _ in range(3)) < 12 * min(seconds(20 + 200 * i) for i in range(3)) + 0.02


@pytest.mark.parametrize("depth", [1, 50, 200])
def test_brackets_nest_to_any_depth(vocabulary: Vocabulary, real_vocabulary: Vocabulary, depth: int) -> None:
    for each in (vocabulary, real_vocabulary):
        text = "[" * depth + "]" * depth
        prefix = walk_text(each, NESTED, text)

        assert each.eos_token_id in each.state(NESTED, prefix).legal
        with pytest.raises(GrammarError):
            walk_text(each, NESTED, text + "]")


def walk_text(vocabulary: Vocabulary, grammar: GrammarSpec, text: str) -> tuple[int, ...]:
    """Tokens that spell the text, each the longest legal one that fits; raises where none does."""
    prefix, rest = (), text.encode()
    while rest:
        legal = vocabulary.state(grammar, prefix).legal.tolist()
        fitting = [(len(piece), t) for t in legal if (piece := vocabulary.text_bytes([t])) and rest.startswith(piece)]
        if not fitting:
            raise GrammarError(f"not a sentence at {rest!r}")
        length, token = max(fitting)
        prefix, rest = (*prefix, token), rest[length:]
    return prefix


def test_a_token_may_span_several_terminals(real_vocabulary: Vocabulary) -> None:
    value = {"a": [{"b": "c"}], "d": [["e"], "f"], "g": {"h": "i"}}
    grammar = json_grammar({"type": "object"})

    prefix = walk_text(real_vocabulary, grammar, json.dumps(value, separators=(",", ":")))

    spans = [piece for token in prefix if len(set(piece := real_vocabulary.text([token])) & set('"[]{}:,')) >= 3]
    assert spans
    assert json.loads(real_vocabulary.text(prefix)) == value
    assert real_vocabulary.eos_token_id in real_vocabulary.state(grammar, prefix).legal


@given(st.text(st.characters(min_codepoint=0x80, codec="utf-8"), min_size=1, max_size=4))
def test_characters_of_several_bytes_may_be_cut_anywhere(vocabulary: Vocabulary, text: str) -> None:
    """Byte tokens alone spell any text of a grammar that forces nothing."""
    grammar = regex_grammar(r"(.|\n){1,4}")
    by_byte = {vocabulary.text_bytes([token]): token for token in range(vocabulary.size)}

    prefix = tuple(by_byte[bytes([byte])] for byte in text.encode())

    for cut in range(1, len(prefix)):
        is_whole = len(text.encode()[:cut].decode("utf-8", "ignore").encode()) == cut
        legal = vocabulary.state(grammar, prefix[:cut]).legal
        assert (vocabulary.eos_token_id in legal) == is_whole
    assert vocabulary.text(prefix) == text


def test_the_legal_set_may_differ_at_every_step_of_an_episode(vocabulary: Vocabulary) -> None:
    """Each state of the walk has a grammar of its own; none leaves a trace in the next."""
    position, texts = 0, []
    for seed in range(60):
        moves = [f"to {position + step}" for step in (-1, 1, 2) if 0 <= position + step <= 30]
        grammar = choice_grammar(moves)
        path = random_path(vocabulary, grammar, random.Random(seed), 40)
        texts.append(vocabulary.text(path[:-1]))
        assert texts[-1] in moves
        position = int(texts[-1].split()[1])

    assert len(set(texts)) > 10


def test_states_with_the_same_legal_set_share_it(make_vocabulary: Callable[..., Vocabulary]) -> None:
    vocabulary, grammar = make_vocabulary(), json_grammar({"type": "string"})
    quote, *letters = walk_text(vocabulary, grammar, '"abcd')

    states = [vocabulary.state(grammar, (quote, *letters[:i])) for i in range(1, len(letters) + 1)]

    assert all(state.legal is states[0].legal for state in states)
    assert vocabulary.num_cached_ids < 2 * len(states[0].legal) + 80 * len(states)


def test_a_legal_set_that_no_state_has_any_more_is_forgotten(make_vocabulary: Callable[..., Vocabulary]) -> None:
    vocabulary = make_vocabulary(max_cached_ids=1000)
    pairs = [(a, b) for a in "abcdefghij" for b in "klmnopqrst"]

    for a, b in pairs:
        vocabulary.state(choice_grammar([a, b]), ())

    kept = vocabulary._legal_sets._shared
    assert len(kept) <= vocabulary.num_cached_states < len(pairs)
    assert vocabulary._legal_sets.num_ids == sum(len(shared.state.legal) for shared in kept.values())


def test_a_grammar_that_admits_nothing_is_told_so(vocabulary: Vocabulary) -> None:
    with pytest.raises(GrammarError, match="no sentence goes on"):
        vocabulary.state(lark_grammar('start: x{1,2}\nx: x "b"'), ())
