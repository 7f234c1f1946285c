"""The matcher: which tokens a grammar allows next. The only door to llguidance.

Engine and learner both stand on this file. The legal set after a prefix is defined here and nowhere else, so a
probability computed by one is a probability under the very distribution the other samples from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from olal.errors import GrammarError
from olal.types import GrammarSpec

_STATE_OVERHEAD_IDS = 64


@dataclass(frozen=True, slots=True)
class GrammarState:
    """What a grammar allows after some prefix.

    Attributes:
        legal: int64 array of shape (num_legal,), sorted token ids; empty when the sentence is complete.
        is_complete: the end-of-sequence token has been consumed; nothing may follow.
    """

    legal: NDArray[np.int64]
    is_complete: bool

    @property
    def is_forced(self) -> bool:
        """Whether exactly one token is legal, so that no model needs to be asked."""
        return len(self.legal) == 1


class Vocabulary:
    """A tokenizer as the matcher sees it, with the compiled grammars and the states already met."""

    def __init__(self, tokenizer_json: str, *, size: int, eos_token_id: int, max_cached_ids: int = 8_000_000) -> None:
        """Compile the tokenizer.

        Args:
            tokenizer_json: text of a Hugging Face `tokenizer.json`.
            size: width of the model's logits, which may exceed the tokenizer's own count.
            eos_token_id: the token that ends a sentence.
            max_cached_ids: bound of the cached states, counted in token ids of 8 bytes: the legal ones, the prefix,
                and a constant for what holds them.
        """
        self.size = size
        self.eos_token_id = eos_token_id
        self._tokenizer = LLTokenizer(tokenizer_json, n_vocab=size, eos_token=eos_token_id)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._states: OrderedDict[tuple[str, tuple[int, ...]], GrammarState] = OrderedDict()
        self._max_cached_ids = max_cached_ids
        self.num_cached_ids = 0

    @property
    def num_cached_states(self) -> int:
        """How many states are kept."""
        return len(self._states)

    def state(self, grammar: GrammarSpec, prefix: Sequence[int]) -> GrammarState:
        """Legal tokens after `prefix`, a completion so far (without its prompt).

        Raises:
            GrammarError: the grammar does not compile or forbids the prefix.
        """
        key = (grammar.digest, tuple(prefix))
        state = self._states.get(key)
        if state is None:
            state = self._compute(grammar, key[1])
            self._states[key] = state
            self.num_cached_ids += _cost(key[1], state)
            while self.num_cached_ids > self._max_cached_ids and len(self._states) > 1:
                (_, old_prefix), old = self._states.popitem(last=False)
                self.num_cached_ids -= _cost(old_prefix, old)
        return state

    def forced_run(
        self, grammar: GrammarSpec, prefix: Sequence[int], *, limit: int = 1024
    ) -> tuple[tuple[int, ...], GrammarState]:
        """Follow forced tokens from `prefix` until a decision or the end.

        Args:
            grammar: the grammar.
            prefix: a completion so far.
            limit: most tokens to follow; a grammar may force tokens forever.

        Returns:
            The forced tokens and the state after them: complete, or with at least two legal tokens, or still forced
            after `limit` tokens.
        """
        run: list[int] = []
        state = self.state(grammar, prefix)
        while state.is_forced and len(run) < limit:
            run.append(int(state.legal[0]))
            state = self.state(grammar, (*prefix, *run))
        return tuple(run), state

    def text(self, tokens: Sequence[int]) -> str:
        """What the tokens spell, as the grammar read them; a tokenizer's own decoder may strip or clean.

        Bytes of a character that was cut become U+FFFD.
        """
        return self._tokenizer.decode_bytes(list(tokens)).decode("utf-8", "replace")

    def _compute(self, grammar: GrammarSpec, prefix: tuple[int, ...]) -> GrammarState:
        if prefix and prefix[-1] == self.eos_token_id and self.eos_token_id in self.state(grammar, prefix[:-1]).legal:
            return GrammarState(np.empty(0, np.int64), is_complete=True)
        matcher = self._matcher(grammar)
        is_known = all(0 <= token < self.size and token != self.eos_token_id for token in prefix)
        if prefix and not (is_known and matcher.consume_tokens(list(prefix))):
            raise GrammarError(f"the grammar {grammar.digest} forbids these tokens: {list(prefix)}")
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        if matcher.is_error():
            raise GrammarError(f"grammar {grammar.digest}: {_reason(matcher)}")
        legal = np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self.size]).astype(np.int64)
        if len(legal) == 0:
            legal = np.array([self.eos_token_id], np.int64)
        if len(legal) == 1 and legal[0] == self.eos_token_id and not matcher.is_accepting():
            raise GrammarError("a sentence must not hold the text of the end-of-sequence token; spell it otherwise")
        legal.setflags(write=False)
        return GrammarState(legal, is_complete=False)

    def _matcher(self, grammar: GrammarSpec) -> LLMatcher:
        compiled = self._compiled.get(grammar.digest)
        if compiled is None:
            compiled = LLMatcher(self._tokenizer, grammar.text, log_level=0)
            if compiled.is_error():
                raise GrammarError(f"the grammar does not compile: {_reason(compiled)}")
            self._compiled[grammar.digest] = compiled
            if len(self._compiled) > 1024:
                self._compiled.popitem(last=False)
        return compiled.deep_copy()


def _cost(prefix: tuple[int, ...], state: GrammarState) -> int:
    return len(prefix) + len(state.legal) + _STATE_OVERHEAD_IDS


def _reason(matcher: LLMatcher) -> str:
    """The matcher's complaint in one line: its first, and what a regex parser adds below its drawing."""
    first, *rest = matcher.get_error().splitlines()
    return " ".join([first, *(line for line in rest if line.startswith("error:"))])
