"""The sentences of a grammar, found by walking its legal tokens."""

from __future__ import annotations

import random
import runpy
import sysconfig
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

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


@pytest.fixture(scope="session")
def real_vocabulary() -> Vocabulary:
    """A byte-level BPE of real size, with the merges of real text; its longest tokens span several JSON terminals."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    files = islice(sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")), 120)
    json_text = '{"a":[{"b":"c"}],"d":[["e"],"f"],"g":{"h":"i"}}' * 2000
    tokenizer.train_from_iterator([*(path.read_text() for path in files), json_text], trainer)
    return Vocabulary(tokenizer.to_str(), size=tokenizer.get_vocab_size(), eos_token_id=0)


@pytest.fixture(scope="session")
def corpus() -> list[Any]:
    """The fifty grammars of the validity benchmark, with their validators."""
    return runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "_grammars.py"))["CORPUS"]
