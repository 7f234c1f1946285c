"""A base model without its weights: names, shapes and tokenizer, for an engine that holds the weights itself.

An adapter's layout and its first values depend on the names and shapes of the modules alone. So an engine that runs the
model elsewhere learns both from here, without a second copy of the model in memory.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from olal.errors import ModelInvalid
from olal.models.base_model import BaseModel, make_vocabulary
from olal.models.model_path import resolve_model_path


def load_hollow_model(path: str, *, dtype: Literal["float32", "bfloat16"] = "float32") -> BaseModel:
    """Everything of a base model but the values of its weights; the network cannot be run.

    A `LoraBank` injected into it has the layout and the initial values that it has in the whole model.

    Args:
        path: a directory, a hub name, or "tiny".
        dtype: of the frozen weights; PEFT rounds an adapter's first values to it.

    Raises:
        ModelInvalid: it cannot be read, or its tokenizer has no fast form or no end-of-sequence token.
    """
    resolved = resolve_model_path(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved)
        config = AutoConfig.from_pretrained(resolved)
        with torch.device("meta"):
            network: Any = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    except Exception as error:  # a damaged file makes transformers raise whatever its readers do
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelInvalid(f"the model cannot be loaded ({reason}): {path}") from error
    _fill(network)
    network.eval().requires_grad_(False)
    return BaseModel(path, network, tokenizer, make_vocabulary(path, tokenizer, network))


def _fill(network: nn.Module) -> None:
    """Give every parameter one number on the CPU, repeated to its shape: PEFT follows a weight's device and dtype."""
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            shallow = torch.zeros(1, dtype=parameter.dtype).expand(parameter.shape)
            setattr(module, name, nn.Parameter(shallow, requires_grad=False))
