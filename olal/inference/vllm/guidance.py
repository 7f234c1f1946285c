"""CanonicalGuidance: vLLM's guidance backend, given olal's grammar text as it is.

vLLM would read a grammar as Lark or GBNF and add settings of its own to a schema. The canonical text needs neither: it
is what the matcher itself reads. Each text is compiled once and copied per request.
"""

from __future__ import annotations

from collections import OrderedDict
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
            compiled = backend_guidance.llguidance.LLMatcher(self.ll_tokenizer, grammar_spec, log_level=0)
            if compiled.is_error():
                raise ValueError(f"the grammar does not compile: {compiled.get_error()}")
            self._compiled[grammar_spec] = compiled
            if len(self._compiled) > _MAX_COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(grammar_spec)
        return GuidanceGrammar(compiled.deep_copy(), self.ll_tokenizer, self.vocab_size)
