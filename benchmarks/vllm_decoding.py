"""Actions per second on vLLM: its own structured output, olal's engine on it, and olal's transformers engine.

All three run the tiny base with one LoRA adapter, batches of 32 actions, sampling with log-probabilities, each in a
process of its own, in turns. vLLM alone writes token by token under its guidance backend; olal's engines make a pass
for a decision only. Run it in .venv-vllm: `make bench-vllm` does.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _actions import BATCH, Actions, grid_world, tool_call
from _report import Measurement, arguments, measure, report

SIDES = ("plain", "vllm", "transformers")
KINDS: dict[str, Callable[[], Actions]] = {"gridworld": grid_world, "tool_call": tool_call}
MAX_TOKENS = 384


def main() -> None:
    """Let every side play every kind of action."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each side")
    parser.add_argument("--turns", type=int, default=10, help="batches in each process")
    parser.add_argument("--side", choices=SIDES, help="play one side and print its numbers")
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(play(options.side, options.turns)))
        return
    played = [(side, play_apart(side, options.turns)) for _ in range(options.rounds) for side in SIDES]
    report([one for kind in KINDS for one in compare(kind, played)], options.json)


def compare(kind: str, played: list[tuple[str, dict[str, Any]]]) -> list[Measurement]:
    """Medians over all rounds."""
    rate, steps = (
        {side: statistics.median(value for s, one in played if s == side for value in one[kind][key]) for side in SIDES}
        for key in ("actions_per_s", "steps")
    )
    return [
        measure(f"vllm_actions_per_s_{kind}", rate["vllm"], "1/s", baseline=rate["plain"]),
        measure(f"transformers_actions_per_s_{kind}", rate["transformers"], "1/s", baseline=rate["plain"]),
        measure(f"vllm_steps_per_batch_{kind}", steps["vllm"], "steps", baseline=steps["plain"]),
        measure(f"transformers_steps_per_batch_{kind}", steps["transformers"], "steps", baseline=steps["plain"]),
        measure(f"vllm_steps_saved_{kind}", steps["plain"] / steps["vllm"], "ratio", ">= 2", baseline=1.0),
    ]


def play_apart(side: str, turns: int) -> dict[str, Any]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--turns", str(turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def play(side: str, turns: int) -> dict[str, Any]:
    """Actions per second and model passes of every batch, the first two left out."""
    turn = plain_side() if side == "plain" else olal_side(side)
    answer: dict[str, Any] = {}
    for kind, make in KINDS.items():
        actions = make()
        batches = [turn(actions, seed) for seed in range(turns + 2)][2:]
        answer[kind] = {
            "actions_per_s": [BATCH / elapsed for elapsed, _ in batches],
            "steps": [steps for _, steps in batches],
        }
    return answer


def olal_side(kind: str) -> Callable[[Actions, int], tuple[float, int]]:
    """One of olal's engines, under a new adapter each turn, so that no context is known."""
    import numpy as np

    from olal.config import load_config
    from olal.experiments.build import build_engine
    from olal.types import AdapterUpdate, GenerateRequest, Message, SamplingParams

    built, network = build_engine(load_config([], {"engine.kind": kind, "engine.kv_cache_mb": 64}))
    bank = network.bank
    engine: Any = built  # both kinds count their passes

    def turn(actions: Actions, seed: int) -> tuple[float, int]:
        noise = np.random.default_rng(seed).standard_normal(bank.layout.num_parameters).astype(np.float32)
        flat = (bank.initial + 0.01 * noise).astype(np.float32)
        engine.load_adapter(AdapterUpdate(seed, bank.layout.digest(flat), flat))
        prompts = [engine.encode([Message("user", prompt)]) for prompt in actions.prompts]
        sampling = SamplingParams(max_tokens=MAX_TOKENS)
        requests = [GenerateRequest(prompt, actions.spec, sampling, seed << 20 | i) for i, prompt in enumerate(prompts)]
        before, started = engine.num_passes, time.perf_counter()
        completions = engine.generate(requests)
        elapsed = time.perf_counter() - started
        assert all(completion.stop_reason == "grammar" for completion in completions)
        return elapsed, engine.num_passes - before

    return turn


def plain_side() -> Callable[[Actions, int], tuple[float, int]]:
    """Plain vLLM: structured output by JSON Schema, one adapter from disk, its prefix cache emptied each turn."""
    import torch

    from olal.adapters import write_peft_directory
    from olal.config import load_config
    from olal.experiments.build import build_network
    from olal.inference.prompts import encode_messages
    from olal.inference.vllm.core import prepare_environment
    from olal.types import Message

    network = build_network(load_config([]), is_hollow=True)
    folder = Path(tempfile.mkdtemp()) / "adapter"
    write_peft_directory(folder, network.bank.layout, network.bank.initial, network.bank.peft_config)
    prepare_environment(has_gpu=torch.cuda.is_available(), threads=1)
    llm, new_params, request = _start_plain(str(folder))
    core = llm.llm_engine.engine_core.engine_core
    steps = [0]
    whole = core.step_fn

    def step() -> Any:
        steps[0] += 1
        return whole()

    core.step_fn = step

    def turn(actions: Actions, seed: int) -> tuple[float, int]:
        prompts = [encode_messages(network.base.tokenizer, [Message("user", text)]) for text in actions.prompts]
        llm.reset_prefix_cache()
        params = [new_params(actions.schema, seed << 20 | i) for i in range(len(prompts))]
        before, started = steps[0], time.perf_counter()
        inputs = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        outputs = llm.generate(inputs, params, use_tqdm=False, lora_request=request)
        elapsed = time.perf_counter() - started
        assert all(output.outputs[0].finish_reason == "stop" for output in outputs)
        return elapsed, steps[0] - before

    return turn


def _start_plain(adapter: str) -> tuple[Any, Callable[[Any, int], Any], Any]:
    """Plain vLLM with the settings of olal's engine, but for drafts, scheduler and worker."""
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]
    from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
    from vllm.sampling_params import StructuredOutputsParams  # pyright: ignore[reportMissingImports]

    from olal.inference.vllm import padded_attention
    from olal.models.model_path import TINY_PATH

    padded_attention.register()
    llm = LLM(
        str(TINY_PATH),
        dtype="float32",
        enforce_eager=True,
        max_num_seqs=256,
        kv_cache_memory_bytes=64 << 20,
        block_size=32,
        async_scheduling=False,
        enable_lora=True,
        max_lora_rank=8,
        max_loras=16,
        logprobs_mode="processed_logprobs",
        structured_outputs_config={"backend": "guidance", "disable_any_whitespace": True},
    )

    def new_params(schema: Any, seed: int) -> Any:
        structured = StructuredOutputsParams(json=json.dumps(schema))
        return SamplingParams(max_tokens=MAX_TOKENS, seed=seed, logprobs=0, structured_outputs=structured)

    return llm, new_params, LoRARequest("policy", 1, adapter)


if __name__ == "__main__":
    main()
