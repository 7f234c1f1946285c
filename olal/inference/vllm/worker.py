"""What olal puts into vLLM's worker: its own draws, scoring from hidden states, adapters from memory.

Everything is set on the one model runner of this process; no class of vLLM is changed. vLLM's samplers are not asked,
and so neither its penalties nor its acceptance rule for drafts, which goes wrong on CPUs, plays a part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.lora.layers import LogitsProcessorWithLoRA  # pyright: ignore[reportMissingImports]
from vllm.lora.lora_model import LoRAModel  # pyright: ignore[reportMissingImports]
from vllm.lora.peft_helper import PEFTHelper  # pyright: ignore[reportMissingImports]
from vllm.v1.outputs import SamplerOutput  # pyright: ignore[reportMissingImports]

from olal.inference.vllm.scoring import ScoreTable
from olal.inference.vllm.seats import SeatTable

TensorsOf = Callable[[str], dict[str, NDArray[np.float32]]]


class WorkerExtension:
    """Methods that vLLM's worker gains; called through `collective_rpc`, in this process."""

    model_runner: Any

    def install(self, table: SeatTable, scores: ScoreTable, tensors_of: TensorsOf, peft_config: dict[str, Any]) -> None:
        """Let the model runner draw, score and load adapters as olal does.

        Args:
            table: rows being sampled.
            scores: sequences being scored.
            tensors_of: named tensors of the adapter of a digest; they are copied, since vLLM scales them in place.
            peft_config: PEFT's description of every adapter.
        """
        runner = self.model_runner
        manager = runner.lora_manager
        manager._load_adapter = lambda request: _load(manager, request, tensors_of(request.lora_name), peft_config)
        runner._sample = lambda logits, metadata: _sample(runner, table, logits)
        runner._get_prompt_logprobs_dict = lambda hidden, counts: _score(runner, scores, hidden, counts)
        for module in runner.model.modules():
            if isinstance(module, LogitsProcessorWithLoRA):  # would add an adapter of the output layer: there is none
                module.forward = module.base_layer.forward
        whole = runner.sample_tokens

        def sample_tokens(grammar_output: Any) -> Any:
            runner.olal_drafts = {}
            if runner.execute_model_state is not None:
                runner.olal_drafts = runner.execute_model_state[0].scheduled_spec_decode_tokens
            return whole(None)

        runner.sample_tokens = sample_tokens

    def list_adapters(self) -> set[int]:
        """Ids of the adapters that vLLM holds."""
        return set(self.model_runner.lora_manager.list_adapters())


def _sample(runner: Any, table: SeatTable, logits: torch.Tensor) -> Any:
    names = list(runner.input_batch.req_ids)
    skipped = runner.discard_request_mask.np[: len(names)].tolist()
    answers = table.sample(names, runner.olal_drafts, skipped, logits)
    width = max(len(tokens) for tokens in answers)
    padded = torch.tensor([tokens + [-1] * (width - len(tokens)) for tokens in answers], dtype=torch.int32)
    return SamplerOutput(sampled_token_ids=padded.to(logits.device), logprobs_tensors=None)


def _score(runner: Any, scores: ScoreTable, hidden: torch.Tensor, counts: dict[str, int]) -> dict[str, Any]:
    """Read what is being scored off the hidden states of this pass."""
    for name, count in counts.items():
        if name in scores.jobs:
            start = runner.requests[name].num_computed_tokens
            offset = int(runner.query_start_loc.np[runner.input_batch.req_id_to_index[name]])
            mine = hidden[offset : offset + count]
            scores.read(name, start, count, lambda rows, mine=mine: runner.model.compute_logits(mine[rows]))
    return {}


def _load(manager: Any, request: Any, tensors: dict[str, NDArray[np.float32]], config: dict[str, Any]) -> Any:
    helper = PEFTHelper.from_dict(config)
    helper.validate_legal(manager.lora_config)
    mapper = getattr(manager._adapter_manager.model, "hf_to_vllm_mapper", None)
    return LoRAModel.from_lora_tensors(
        request.lora_int_id,
        {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()},
        peft_helper=helper,
        device="cpu",
        dtype=manager.lora_config.lora_dtype,
        model_vocab_size=manager.vocab_size,
        weights_mapper=None if mapper is None else mapper.get_rename_mapper(),
    )
