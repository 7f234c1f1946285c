"""What the environment tests share: a byte tokenizer, and the texts that a grammar admits under it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from olal.errors import ConfigError, GrammarError
from olal.grammar.matcher import Vocabulary
from olal.types import GrammarSpec


class ByteGrammar:
    """A grammar seen one byte at a time, so that no tokenizer merge hides a text."""

    def __init__(self) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate([*alphabet, "<eos>"])}, []))
        tokenizer.add_special_tokens(["<eos>"])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        self._tokenizer = tokenizer
        self._eos = len(alphabet)
        self._vocabulary = Vocabulary(tokenizer.to_str(), size=len(alphabet) + 1, eos_token_id=self._eos)

    def accepts(self, spec: GrammarSpec, text: str) -> bool:
        """Whether the text is a whole sentence of the grammar."""
        token_ids = self._tokenizer.encode(text).ids
        try:
            return self._eos in self._vocabulary.state(spec, token_ids).legal
        except GrammarError:
            return False

    def sample(self, spec: GrammarSpec, seed: int) -> str:
        """A sentence, each byte drawn uniformly from the legal ones."""
        rng, prefix = random.Random(seed), []
        while True:
            token_id = int(rng.choice(self._vocabulary.state(spec, prefix).legal))
            if token_id == self._eos:
                return self._tokenizer.decode(prefix)
            prefix.append(token_id)

    def sentences(self, spec: GrammarSpec) -> set[str]:
        """All sentences of a finite grammar."""
        found, stack = set(), [[]]
        while stack:
            prefix = stack.pop()
            for token_id in self._vocabulary.state(spec, prefix).legal:
                if token_id == self._eos:
                    found.add(self._tokenizer.decode(prefix))
                else:
                    stack.append([*prefix, int(token_id)])
        return found


@pytest.fixture(scope="session")
def grammar() -> ByteGrammar:
    return ByteGrammar()


@pytest.fixture
def refuses() -> Callable[[Callable[[], object]], str]:
    """Call something that must raise a ConfigError and return its message, which must be one line."""

    def call(action: Callable[[], object]) -> str:
        with pytest.raises(ConfigError) as caught:
            action()
        message = str(caught.value)
        assert "\n" not in message
        return message

    return call
