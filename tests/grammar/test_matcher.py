"""Pinned: the legal set after a prefix; forced runs; characters split over tokens; a token that is not legal raises,
wherever it stands; the caches are bounded and forget nothing that matters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tokenizers import Tokenizer

from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar, lark_grammar, regex_grammar
from olal.types import GrammarSpec

LEFT_RIGHT = choice_grammar(["left", "right"])


def test_a_state_holds_sorted_legal_tokens_that_nobody_can_change(vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
    state = vocabulary.state(choice_grammar(["left", "right", "stick"]), ())

    assert state.legal.tolist() == sorted(state.legal.tolist())
    assert {tokenizer.token_to_id(word) for word in ("left", "right", "stick")} <= set(state.legal.tolist())
    assert not state.is_forced
    assert not state.is_complete
    with pytest.raises(ValueError, match="read-only"):
        state.legal[0] = 0


def test_every_legal_token_may_be_consumed_and_no_other(vocabulary: Vocabulary) -> None:
    grammar = regex_grammar(r"[a-f]{2,3}|lef?t? row=[0-3]")
    legal = set(vocabulary.state(grammar, ()).legal.tolist())

    for token in range(vocabulary.size):
        if token in legal:
            assert len(vocabulary.state(grammar, (token,)).legal) > 0
        else:
            with pytest.raises(GrammarError):
                vocabulary.state(grammar, (token,))


def test_a_forced_run_ends_at_the_first_decision(vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
    run, state = vocabulary.forced_run(choice_grammar(['{"moves":"left"}', '{"moves":"right"}']), ())

    assert tokenizer.decode(run) == '{"moves":"'
    assert len(state.legal) >= 2


def test_a_forced_run_may_reach_the_end(vocabulary: Vocabulary, tokenizer: Tokenizer, eos: int) -> None:
    grammar = choice_grammar(['{"moves":"left"}', '{"moves":"right"}'])
    prefix = tokenizer.encode('{"moves":"left').ids

    run, state = vocabulary.forced_run(grammar, prefix)

    assert tokenizer.decode(run[:-1]) == '"}'
    assert run[-1] == eos
    assert state.is_complete
    assert len(state.legal) == 0


def test_a_forced_run_stops_at_its_limit_even_where_the_grammar_never_does(vocabulary: Vocabulary) -> None:
    run, state = vocabulary.forced_run(lark_grammar('start: "a" start'), (), limit=10)

    assert len(run) == 10
    assert state.is_forced


def test_a_character_split_over_tokens_is_decided_at_the_byte_that_differs(
    vocabulary: Vocabulary, tokenizer: Tokenizer
) -> None:
    run, state = vocabulary.forced_run(choice_grammar(["é", "è"]), ())

    assert len(tokenizer.encode("é").ids) == 2
    assert [*run] == tokenizer.encode("é").ids[:1]
    assert {tokenizer.decode([*run, token]) for token in state.legal} == {"é", "è"}


def test_the_end_is_legal_where_a_choice_is_a_prefix_of_another(
    vocabulary: Vocabulary, tokenizer: Tokenizer, eos: int
) -> None:
    state = vocabulary.state(choice_grammar(["left", "left row"]), tokenizer.encode("left").ids)

    assert eos in state.legal
    assert len(state.legal) >= 2


def test_a_finished_sentence_is_complete(vocabulary: Vocabulary, tokenizer: Tokenizer, eos: int) -> None:
    state = vocabulary.state(LEFT_RIGHT, (*tokenizer.encode("left").ids, eos))

    assert state.is_complete
    assert not state.is_forced


@pytest.mark.parametrize(
    "prefix",
    [
        lambda left, eos: (left + 1,),
        lambda left, eos: (left, left),
        lambda left, eos: (eos,),
        lambda left, eos: (left + 1, eos),
        lambda left, eos: (left, eos, eos),
        lambda left, eos: (left, eos, left),
        lambda left, eos: (99_999,),
        lambda left, eos: (-1,),
    ],
    ids=["other", "again", "empty", "other then end", "end twice", "after the end", "too large", "negative"],
)
def test_tokens_that_are_not_legal_raise(
    vocabulary: Vocabulary, tokenizer: Tokenizer, eos: int, prefix: Callable[[int, int], tuple[int, ...]]
) -> None:
    with pytest.raises(GrammarError):
        vocabulary.state(LEFT_RIGHT, prefix(tokenizer.token_to_id("left"), eos))


def test_the_mask_is_as_wide_as_the_model(tokenizer: Tokenizer, eos: int) -> None:
    wide = Vocabulary(tokenizer.to_str(), size=tokenizer.get_vocab_size() + 54, eos_token_id=eos)

    legal = wide.state(regex_grammar(r"(.|\n)*"), ()).legal

    assert legal.max() < tokenizer.get_vocab_size()
    assert tokenizer.token_to_id("<pad>") not in legal
    assert len(legal) > 300


@pytest.mark.parametrize(("text", "prefix"), [("<eos>", ""), ("a<eos>b", "a")])
def test_a_forced_text_that_only_the_end_token_spells_is_refused(
    vocabulary: Vocabulary, tokenizer: Tokenizer, text: str, prefix: str
) -> None:
    with pytest.raises(GrammarError, match="end-of-sequence"):
        vocabulary.state(choice_grammar([text]), tokenizer.encode(prefix).ids)


def walk(vocabulary: Vocabulary, grammar: GrammarSpec) -> list[list[int]]:
    """Legal sets along 40 prefixes."""
    found, prefix = [], ()
    for _ in range(40):
        legal = vocabulary.state(grammar, prefix).legal
        found.append(legal.tolist())
        prefix = (*prefix, int(legal[np.argmax(legal != vocabulary.eos_token_id)]))
    return found


def test_the_state_cache_is_bounded_and_what_it_drops_is_found_again(
    make_vocabulary: Callable[..., Vocabulary],
) -> None:
    small, large = make_vocabulary(max_cached_ids=2000), make_vocabulary()
    grammar = regex_grammar("[a-z0-9 ]*")

    first = walk(small, grammar)

    assert small.num_cached_ids <= 2000 < large.num_cached_ids + sum(map(len, first))
    assert walk(small, grammar) == first == walk(large, grammar)


def test_states_without_a_choice_count_towards_the_bound_too(make_vocabulary: Callable[..., Vocabulary]) -> None:
    vocabulary = make_vocabulary(max_cached_ids=500)

    vocabulary.forced_run(choice_grammar(["grid x=0 y=0 facing north bumped " * 8]), ())

    assert vocabulary.num_cached_ids <= 500
    assert vocabulary.num_cached_states < 40


def test_more_grammars_than_are_kept_compiled(make_vocabulary: Callable[..., Vocabulary]) -> None:
    vocabulary = make_vocabulary()
    first = vocabulary.state(choice_grammar(["left0", "right"]), ()).legal.tolist()

    for i in range(1100):
        vocabulary.state(choice_grammar([f"left{i}", "right"]), ())

    assert vocabulary.state(choice_grammar(["left0", "right"]), (first[0],)).legal.size > 0
