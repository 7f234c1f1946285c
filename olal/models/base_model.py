"""Loading a base model and its tokenizer from a directory, a hub name, or the tiny model that ships with olal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from olal.errors import ModelInvalid
from olal.grammar import Vocabulary
from olal.models.heap import keep_freed_memory
from olal.models.model_path import resolve_model_path


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A frozen causal language model, its tokenizer and its vocabulary as the matcher sees it.

    Attributes:
        path: where it came from.
        network: the transformers model, in eval mode, without gradients.
        tokenizer: the fast tokenizer.
        vocabulary: shared compiled grammars.
    """

    path: str
    network: Any
    tokenizer: Any
    vocabulary: Vocabulary

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device


def load_base_model(
    path: str, *, dtype: Literal["float32", "bfloat16"] = "float32", device: str = "auto", threads: int = 1
) -> BaseModel:
    """Load a causal language model for inference and LoRA training.

    Args:
        path: a directory, a hub name, or "tiny".
        dtype: of the frozen weights; adapters are always float32.
        device: "auto" takes CUDA where there is one.
        threads: CPU threads of this process's model passes.

    Raises:
        ModelInvalid: it cannot be loaded, or its tokenizer has no fast form or no end-of-sequence token.
    """
    resolved = resolve_model_path(path)
    disable_progress_bar()
    torch.set_num_threads(threads)
    target = resolve_device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved)
        network = AutoModelForCausalLM.from_pretrained(resolved, dtype=getattr(torch, dtype))
    except Exception as error:  # a damaged file makes transformers raise whatever its readers do
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelInvalid(f"the model cannot be loaded ({reason}): {path}") from error
    network: Any = network.to(target).eval().requires_grad_(False)
    if target == "cpu":
        keep_freed_memory()
    return BaseModel(path, network, tokenizer, make_vocabulary(path, tokenizer, network))


def resolve_device(device: str) -> str:
    """Where a model runs: "auto" is CUDA where there is one, else the CPU."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def make_vocabulary(path: str, tokenizer: Any, network: Any) -> Vocabulary:
    """The matcher's view of a tokenizer, as wide as the network's logits.

    Raises:
        ModelInvalid: the tokenizer has no fast form or no end-of-sequence token.
    """
    if not getattr(tokenizer, "is_fast", False) or tokenizer.eos_token_id is None:
        raise ModelInvalid(f"the tokenizer must be a fast one with an end-of-sequence token: {path}")
    width = network.get_output_embeddings().weight.shape[0]
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return Vocabulary(backend.to_str(), size=width, eos_token_id=tokenizer.eos_token_id)
