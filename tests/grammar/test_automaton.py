"""A regular grammar is held to the automaton of outlines_core over the same tokenizer.

Pinned: every path of our tokens is a path of the automaton, and ends where the automaton may end; every text that a
walk of the automaton writes is a sentence of ours; after any text of ours both allow the same next bytes. Two things
differ. Where a grammar forces a string, ours keep its canonical tokens alone, the automaton all that spell it. And
outlines_core 0.2.14 loses each step from a text that may end to one that may not, which the library `re` shows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest
from outlines_core import Index
from outlines_core import Vocabulary as CoreVocabulary

from olal.grammar import Vocabulary, choice_grammar, regex_grammar
from olal.types import GrammarSpec

PATTERNS = [
    r"(left|right) [0-9]{1,3}",
    r"[a-z]{3,12}",
    r"-?(0|[1-9][0-9]{0,4})",
    r"\{\"move\":\"(up|down|stay)\",\"n\":[0-9]{1,2}\}",
    r"(a?b?c?){1,4}d",
    r"[a-f0-9]{8}(-[a-f0-9]{4}){3}",
    r"(ab|a)b?x?",
    r"row=[0-7] (and row=[0-7] ){0,2}end",
    r"([01][0-9]|2[0-3]):[0-5][0-9]",
    r"(/[a-z]+)+/?",
]
GOES_ON = [  # with a text that the automaton loses
    (r"(left|right)( [0-9]{1,3}){0,2}", "left 12"),
    (r"-?(0|[1-9][0-9]{0,4})(\.[0-9]{1,3})?", "3.25"),
    (r"(ab|abc|abcd)+x?", "abab"),
]


@pytest.fixture(scope="module")
def make_index(vocabulary: Vocabulary) -> Callable[[str], Index]:
    """The automaton over the tokens whose bytes are ASCII; outlines_core takes each of them as one more word."""
    words: dict[str | bytes, list[int]] = {}
    for token in range(vocabulary.size):
        text = vocabulary.text_bytes([token])
        if text and text.isascii() and token != vocabulary.eos_token_id and not text.startswith(b"<pad"):
            words.setdefault(text, []).append(token)
    core = CoreVocabulary(vocabulary.eos_token_id, words)
    return lambda pattern: Index(pattern, core)


def our_walk(vocabulary: Vocabulary, grammar: GrammarSpec, rng: random.Random) -> tuple[int, ...]:
    prefix: tuple[int, ...] = ()
    while len(prefix) < 60 and not (state := vocabulary.state(grammar, prefix)).is_complete:
        can_end = vocabulary.eos_token_id in state.legal and rng.random() < 0.3
        prefix = (*prefix, vocabulary.eos_token_id if can_end else int(rng.choice(state.legal)))
    return prefix


def core_walk(index: Index, eos: int, rng: random.Random) -> tuple[int, ...] | None:
    state, path = index.get_initial_state(), []
    for _ in range(60):
        if index.is_final_state(state) and rng.random() < 0.3:
            return tuple(path)
        allowed = sorted(token for token in index.get_allowed_tokens(state) if token != eos)
        if not allowed:
            return tuple(path)
        path.append(rng.choice(allowed))
        state = index.get_next_state(state, path[-1])
    return None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_our_paths_are_paths_of_the_automaton_with_the_same_next_bytes(
    vocabulary: Vocabulary, make_index: Callable[[str], Index], pattern: str
) -> None:
    index, grammar, eos = make_index(pattern), regex_grammar(pattern), vocabulary.eos_token_id
    for seed in range(15):
        state, path = index.get_initial_state(), our_walk(vocabulary, grammar, random.Random(seed))
        for i, token in enumerate(path):
            ours = set(vocabulary.state(grammar, path[:i]).legal.tolist())
            theirs = set(index.get_allowed_tokens(state))
            assert ours - {eos} <= theirs
            assert (eos in ours) == index.is_final_state(state)
            assert {vocabulary.text_bytes([t])[:1] for t in ours - {eos}} == {
                vocabulary.text_bytes([t])[:1] for t in theirs - {eos}
            }
            if token != eos:
                state = index.get_next_state(state, token)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_of_the_automaton_are_sentences_of_ours(
    vocabulary: Vocabulary, make_index: Callable[[str], Index], pattern: str
) -> None:
    index, grammar, eos = make_index(pattern), regex_grammar(pattern), vocabulary.eos_token_id
    walks = [core_walk(index, eos, random.Random(seed)) for seed in range(30)]
    texts = {vocabulary.text_bytes(walk) for walk in walks if walk is not None}

    assert len(texts) > 2
    for text in texts:
        assert spells(vocabulary, grammar, text)


def spells(vocabulary: Vocabulary, grammar: GrammarSpec, text: bytes) -> bool:
    """Whether some path of legal tokens writes the text and may end there."""
    stack: list[tuple[tuple[int, ...], bytes]] = [((), text)]
    while stack:
        path, rest = stack.pop()
        legal = vocabulary.state(grammar, path).legal.tolist()
        if not rest and vocabulary.eos_token_id in legal:
            return True
        pieces = [(vocabulary.text_bytes([token]), token) for token in legal]
        stack.extend(
            ((*path, token), rest[len(piece) :]) for piece, token in pieces if piece and rest.startswith(piece)
        )
    return False


@pytest.mark.parametrize(("pattern", "lost"), GOES_ON)
def test_what_goes_on_after_a_possible_end_is_ours_alone_and_right(
    vocabulary: Vocabulary, make_index: Callable[[str], Index], pattern: str, lost: str
) -> None:
    index, grammar, eos = make_index(pattern), regex_grammar(pattern), vocabulary.eos_token_id
    ours = [our_walk(vocabulary, grammar, random.Random(seed)) for seed in range(40)]
    theirs = [core_walk(index, eos, random.Random(seed)) for seed in range(40)]

    assert all(re.fullmatch(pattern, vocabulary.text(path[:-1])) for path in ours if path[-1] == eos)
    assert all(spells(vocabulary, grammar, vocabulary.text_bytes(walk)) for walk in theirs if walk is not None)
    assert re.fullmatch(pattern, lost)
    assert spells(vocabulary, grammar, lost.encode())


def test_where_nothing_is_forced_the_token_sets_are_equal(
    vocabulary: Vocabulary, make_index: Callable[[str], Index]
) -> None:
    index, grammar = make_index("[a-z ]{0,200}"), regex_grammar("[a-z ]{0,200}")

    ours = set(vocabulary.state(grammar, ()).legal.tolist())

    assert ours == set(index.get_allowed_tokens(index.get_initial_state()))


def test_where_a_string_is_forced_ours_are_its_canonical_tokens(
    vocabulary: Vocabulary, make_index: Callable[[str], Index]
) -> None:
    index = make_index("left")

    assert vocabulary.state(choice_grammar(["left"]), ()).legal.size == 1
    assert len(index.get_allowed_tokens(index.get_initial_state())) > 1
