"""CanonicalGuidance: vLLM's guidance backend, given olal's grammar text as it is.

vLLM would read a grammar as Lark or GBNF and add settings of its own to a schema. The canonical text needs neither: it
is what the matcher itself reads. Each text is compiled once and copied per request.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from vllm.v1.structured_output import backend_guidance  # pyright: ignore[reportMissingImports]
from vllm.v1.structured_output.backend_guidance import (  # pyright: ignore[reportMissingImports]
    GuidanceBackend,
    GuidanceGrammar,
)

_MAX_COMPILED = 1024


class CanonicalGuidance(GuidanceBackend):  # type: ignore[misc]
    """Compiles canonical texts for vLLM's structured outputs."""

    _compiled: OrderedDict[str, Any]

    @classmethod
    def of(cls, vllm_config: Any, manager: Any) -> CanonicalGuidance:
        """The backend for one engine, over vLLM's own tokenizer of it."""
        backend = cls(vllm_config, tokenizer=manager.tokenizer, vocab_size=vllm_config.model_config.get_vocab_size())
        backend._compiled = OrderedDict()
        return backend

    def compile_grammar(self, request_type: Any, grammar_spec: str, stop_token_ids: Any = None) -> Any:
        """A matcher at the beginning of a sentence.

        Raises:
            ValueError: the text does not compile.
        """
        compiled = self._compiled.get(grammar_spec)
        if compiled is None:
            compiled = _compile(self.ll_tokenizer, grammar_spec)
            if compiled.is_error():
                raise ValueError(f"the grammar does not compile: {compiled.get_error()}")
            self._compiled[grammar_spec] = compiled
            if len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(grammar_spec)
        return CanonicalGrammar(compiled.deep_copy(), self.ll_tokenizer, self.vocab_size, text=grammar_spec)


@dataclass
class CanonicalGrammar(GuidanceGrammar):  # type: ignore[misc]
    """A sentence in the making.

    A matcher that has come a long way may hit a limit of the library where a fresh one, led the same way, does not:
    then a fresh one takes over, as it does in `olal.grammar.Vocabulary`.

    Attributes:
        text: the canonical text.
        consumed: tokens accepted so far.
    """

    text: str = ""
    consumed: list[int] = field(default_factory=list)

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        """Move on; False where a token is not legal."""
        self.consumed.extend(tokens)
        return super().accept_tokens(request_id, tokens) or self._restart()

    def rollback(self, num_tokens: int) -> None:
        """Move back."""
        if num_tokens > 0:
            del self.consumed[-num_tokens:]
        if self.ll_matcher.is_error():
            self._restart()
        else:
            super().rollback(num_tokens)

    def fill_bitmask(self, bitmask: Any, idx: int) -> None:
        """Write the legal set into row `idx`."""
        super().fill_bitmask(bitmask, idx)
        if self.ll_matcher.is_error() and self._restart():
            super().fill_bitmask(bitmask, idx)

    def _restart(self) -> bool:
        self.ll_matcher, self.terminated, self.rollback_lag = _compile(self.ll_tokenizer, self.text), False, 0
        return bool(super().accept_tokens("", list(self.consumed)))


def _compile(ll_tokenizer: Any, text: str) -> Any:
    return backend_guidance.llguidance.LLMatcher(ll_tokenizer, text, log_level=0)
