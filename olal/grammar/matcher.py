"""The matcher: which tokens a grammar allows next. The only door to llguidance.

Engine and learner both stand on this file. The legal set after a prefix is defined here and nowhere else, so a
probability computed by one is a probability under the very distribution the other samples from.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from olal.errors import GrammarError
from olal.grammar.legal_sets import GrammarState, LegalSets
from olal.types import GrammarSpec

_STATE_OVERHEAD_IDS = 64
_MAX_RUNS, _MAX_RUN_IDS = 8192, 512  # forced runs remembered, and the widest choice that may follow one
_MAX_COMPILED = 1024
_MAX_LIVE_TOKENS = 200_000  # a matcher takes about 170 bytes per token it has consumed
_CHEAP_COPY_TOKENS = 256  # copying a matcher takes 0.03 us per token consumed; up to here that is nothing
_LOOK_BACK_TOKENS = 8

_Key = tuple[str, tuple[int, ...]]
_COMPLETE = GrammarState(np.empty(0, np.int64), is_complete=True)


@dataclass(slots=True)
class _Met:
    """A state already met, and the matcher that stands there unless it was given up or went on."""

    state: GrammarState
    mask: bytes
    num_tokens: int
    matcher: LLMatcher | None = None

    @property
    def cost(self) -> int:
        return self.num_tokens + _STATE_OVERHEAD_IDS


class Vocabulary:
    """A tokenizer as the matcher sees it, with the compiled grammars and the states already met."""

    def __init__(self, tokenizer_json: str, *, size: int, eos_token_id: int, max_cached_ids: int = 8_000_000) -> None:
        """Compile the tokenizer.

        Args:
            tokenizer_json: text of a Hugging Face `tokenizer.json`.
            size: width of the model's logits, which may exceed the tokenizer's own count.
            eos_token_id: the token that ends a sentence.
            max_cached_ids: bound of the cached states, counted in token ids of 8 bytes: the legal ones (once, where
                several states have the same), the prefix, and a constant for what holds them.
        """
        self.size = size
        self.eos_token_id = eos_token_id
        self._tokenizer = LLTokenizer(tokenizer_json, n_vocab=size, eos_token=eos_token_id)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._states: OrderedDict[_Key, _Met] = OrderedDict()
        self._runs: OrderedDict[_Key, tuple[tuple[int, ...], GrammarState]] = OrderedDict()
        self._live: deque[_Met] = deque()
        self._num_live_tokens = 0
        self._legal_sets = LegalSets(size, eos_token_id)
        self._num_prefix_ids = 0
        self._max_cached_ids = max_cached_ids

    @property
    def num_cached_states(self) -> int:
        """How many states are kept."""
        return len(self._states)

    @property
    def num_cached_ids(self) -> int:
        """What the states kept take, in token ids."""
        return self._num_prefix_ids + self._legal_sets.num_ids

    def state(self, grammar: GrammarSpec, prefix: Sequence[int]) -> GrammarState:
        """Legal tokens after `prefix`, a completion so far (without its prompt).

        One token after a prefix that was asked for recently costs one step of the matcher, however long the prefix.

        Raises:
            GrammarError: the grammar does not compile or forbids the prefix.
        """
        key = (grammar.digest, tuple(prefix))
        met = self._states.get(key)
        if met is not None:
            self._states.move_to_end(key)
            return met.state
        if key[1] and key[1][-1] == self.eos_token_id:
            if self.eos_token_id not in self.state(grammar, key[1][:-1]).legal:
                raise _forbidden(grammar, key[1])
            return _COMPLETE
        met = self._meet(grammar, key[1])
        self._states[key] = met
        self._num_prefix_ids += met.cost
        while self.num_cached_ids > self._max_cached_ids and len(self._states) > 1:
            self._forget(self._states.popitem(last=False)[1])
        return met.state

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
        key = (grammar.digest, tuple(prefix))
        known = self._runs.get(key)
        if known is not None and len(known[0]) <= limit:
            self._runs.move_to_end(key)
            return known
        run: list[int] = []
        state = self.state(grammar, prefix)
        while state.is_forced and len(run) < limit:
            run.append(int(state.legal[0]))
            state = self.state(grammar, (*prefix, *run))
        if run and not state.is_forced and len(state.legal) <= _MAX_RUN_IDS:
            self._runs[key] = (tuple(run), state)
            if len(self._runs) > _MAX_RUNS:
                self._runs.popitem(last=False)
        return tuple(run), state

    def text(self, tokens: Sequence[int]) -> str:
        """What the tokens spell, as the grammar read them; a tokenizer's own decoder may strip or clean.

        Bytes of a character that was cut become U+FFFD.
        """
        return self.text_bytes(tokens).decode("utf-8", "replace")

    def text_bytes(self, tokens: Sequence[int]) -> bytes:
        """What the tokens spell, in bytes; a token may hold part of a character."""
        return self._tokenizer.decode_bytes(list(tokens))

    def _meet(self, grammar: GrammarSpec, prefix: tuple[int, ...]) -> _Met:
        matcher, mask = self._ask(grammar, prefix)
        met = _Met(self._legal_sets.take(mask), mask, len(prefix))
        if not met.state.is_forced or met.state.legal[0] != self.eos_token_id:
            self._keep(met, matcher)
        elif not matcher.is_accepting():
            self._legal_sets.release(mask)
            raise GrammarError("a sentence must not hold the text of the end-of-sequence token; spell it otherwise")
        return met

    def _ask(self, grammar: GrammarSpec, prefix: tuple[int, ...]) -> tuple[LLMatcher, bytes]:
        """A matcher of its own after the prefix, and its mask.

        A grown matcher may hit the library's limits where a fresh one does not, on a grammar that forces bytes
        without end; and a compiled grammar's lexer grows with all that was ever asked of it. A new one has the last
        word in both cases.
        """
        near = self._nearest(grammar, prefix)
        if near is not None and self._consume(*near):
            mask = near[0].compute_bitmask()
            if not near[0].is_error():
                return near[0], mask
        matcher = self._fresh(grammar, prefix)
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            self._compiled.pop(grammar.digest)
            matcher = self._fresh(grammar, prefix)
            mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise GrammarError(f"grammar {grammar.digest}: {_reason(matcher)}")
        return matcher, mask

    def _fresh(self, grammar: GrammarSpec, prefix: tuple[int, ...]) -> LLMatcher:
        matcher = self._compile(grammar).deep_copy()
        if not self._consume(matcher, prefix):
            raise _forbidden(grammar, prefix)
        return matcher

    def _consume(self, matcher: LLMatcher, tokens: tuple[int, ...]) -> bool:
        is_known = all(0 <= token < self.size and token != self.eos_token_id for token in tokens)
        return not tokens or (is_known and matcher.consume_tokens(list(tokens)))

    def _nearest(self, grammar: GrammarSpec, prefix: tuple[int, ...]) -> tuple[LLMatcher, tuple[int, ...]] | None:
        """The nearest matcher at hand that stands within the prefix, and the tokens it lacks."""
        for length in range(len(prefix) - 1, max(len(prefix) - _LOOK_BACK_TOKENS, 0), -1):
            met = self._states.get((grammar.digest, prefix[:length]))
            if met is not None and met.matcher is not None:
                return _borrow(met, met.matcher), prefix[length:]
        return None

    def _forget(self, met: _Met) -> None:
        self._num_prefix_ids -= met.cost
        self._legal_sets.release(met.mask)
        met.matcher = None

    def _keep(self, met: _Met, matcher: LLMatcher) -> None:
        """Let the matcher stay for the next token; the oldest ones make room."""
        met.matcher = matcher
        self._live.append(met)
        self._num_live_tokens += met.cost
        while self._num_live_tokens > _MAX_LIVE_TOKENS:
            oldest = self._live.popleft()
            oldest.matcher = None
            self._num_live_tokens -= oldest.cost

    def _compile(self, grammar: GrammarSpec) -> LLMatcher:
        compiled = self._compiled.get(grammar.digest)
        if compiled is not None:
            self._compiled.move_to_end(grammar.digest)
            return compiled
        compiled = LLMatcher(self._tokenizer, grammar.text, log_level=0)
        if compiled.is_error():
            raise GrammarError(f"the grammar does not compile: {_reason(compiled)}")
        self._compiled[grammar.digest] = compiled
        if len(self._compiled) > _MAX_COMPILED:
            self._compiled.popitem(last=False)
        return compiled


@lru_cache(maxsize=4096)
def compile_problem(text: str) -> str:
    """Why a grammar text does not compile, in one line; empty when it does. Needs no tokenizer."""
    return _reason(LLMatcher(_byte_tokenizer(), text, log_level=0))


def first_bytes(grammar: GrammarSpec) -> frozenset[int]:
    """The bytes with which a sentence of the grammar may begin."""
    matcher = LLMatcher(_byte_tokenizer(), grammar.text, log_level=0)
    bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
    return frozenset(np.flatnonzero(bits[:256]).tolist())


@cache
def _byte_tokenizer() -> LLTokenizer:
    """One token per byte, for what does not depend on a tokenizer."""
    return LLTokenizer("byte")


def _forbidden(grammar: GrammarSpec, prefix: tuple[int, ...]) -> GrammarError:
    return GrammarError(f"the grammar {grammar.digest} forbids these tokens: {list(prefix)}")


def _borrow(met: _Met, matcher: LLMatcher) -> LLMatcher:
    """A copy of the matcher that stands there; a long one itself, since a copy per token is quadratic in the length.

    Whoever branches off the same prefix later consumes it anew, which takes less than half a microsecond per token.
    """
    if met.num_tokens > _CHEAP_COPY_TOKENS:
        met.matcher = None
        return matcher
    return matcher.deep_copy()


def _reason(matcher: LLMatcher) -> str:
    """The matcher's complaint in one line: its first, and what a regex parser adds below its drawing."""
    first, *rest = matcher.get_error().splitlines() or [""]
    if first.startswith("NoExtension"):
        first = f"no sentence goes on from here ({first})"
    return " ".join([first, *(line for line in rest if line.startswith("error:"))])
