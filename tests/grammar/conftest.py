"""The sentences of a grammar, found by walking its legal tokens."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from olal.grammar import Vocabulary
from olal.types import GrammarSpec


@pytest.fixture(scope="session")
def sentences(vocabulary: Vocabulary, tokenizer: Tokenizer) -> Callable[..., set[str]]:
    """All sentences of at most `longest` characters."""

    def walk(spec: GrammarSpec, *, longest: int = 1000) -> set[str]:
        found: set[str] = set()
        stack: list[tuple[int, ...]] = [()]
        while stack:
            prefix = stack.pop()
            state = vocabulary.state(spec, prefix)
            if state.is_complete:
                found.add(tokenizer.decode(prefix[:-1]))
            elif len(tokenizer.decode(prefix)) <= longest:
                stack.extend((*prefix, int(token)) for token in state.legal)
        return {text for text in found if len(text) <= longest}

    return walk


@pytest.fixture(scope="session")
def sample(vocabulary: Vocabulary, tokenizer: Tokenizer) -> Callable[[GrammarSpec, int], str]:
    """One sentence, every token drawn uniformly from the legal ones."""

    def draw(spec: GrammarSpec, seed: int) -> str:
        rng, prefix = random.Random(seed), ()
        while not (state := vocabulary.state(spec, prefix)).is_complete:
            prefix = (*prefix, int(rng.choice(state.legal)))
        return tokenizer.decode(prefix[:-1])

    return draw
