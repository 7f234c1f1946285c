"""EngineConfig: what runs the model in a rollout worker, and how it speculates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from olal.config.base import Section


class SpeculationConfig(Section):
    """Drafting: tokens guessed ahead and checked by the model in one pass. What is sampled stays the same."""

    kind: Literal["none", "ngram", "suffix", "draft_model"] = "none"
    """Who drafts: nobody, lookup in the text so far (ngram) or in all the worker's (suffix), or a small model."""
    num_tokens: int = Field(default=8, ge=1, le=64)
    """Most tokens drafted at a time."""
    draft_model: str = ""
    """Directory or hub id of the small model, which must have the same tokenizer."""
    role: Literal["everywhere", "structure", "delegate"] = "everywhere"
    """Where a draft model drafts: everywhere, or around decisions; delegate (not exact): it writes all else alone."""

    @model_validator(mode="after")
    def _check_draft_model(self) -> SpeculationConfig:
        if (self.kind == "draft_model") != bool(self.draft_model):
            raise ValueError("kind draft_model and a draft_model path go together")
        if self.role != "everywhere" and self.kind != "draft_model":
            raise ValueError(f"role {self.role} needs kind draft_model")
        return self


class EngineConfig(Section):
    """The engine of each rollout worker."""

    kind: Literal["auto", "vllm", "transformers"] = "auto"
    """Which engine; auto takes vLLM where it is installed and the worker has a GPU, else transformers."""
    max_batch: int = Field(default=256, ge=1)
    """Most completions in the making at once; a finished one is replaced by the next."""
    kv_cache_mb: int = Field(default=256, ge=1)
    """Memory for the key-value cache of each worker, in megabytes."""
    speculation: SpeculationConfig = Field(default_factory=SpeculationConfig)
    """Drafting ahead."""
