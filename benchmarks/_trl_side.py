"""TRL's half of trl_step.py. Runs in an environment of its own, so it knows nothing of olal.

Reads the batch from the JSON file named on the command line, says that it is ready, then makes one optimizer step for
every line on its standard input and answers with the time it took. The steps are those of `GRPOTrainer.train()`;
only what would come before them, generation and rewards, is replaced by the batch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset  # pyright: ignore[reportMissingImports]
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

_FOREVER = 1_000_000


class _Fixed(GRPOTrainer):
    """Trains on one batch, over and over."""

    batch: dict[str, Any]

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        return self.batch


class _OnRequest(TrainerCallback):
    """Lets a step begin when it is asked for, and tells how long it took."""

    started = (0.0, 0.0)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not sys.stdin.readline():
            control.should_training_stop = True
        self.started = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wall, cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        tell({"seconds": wall, "cpu_seconds": cpu})


def tell(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), file=sys.__stdout__, flush=True)


def padded(rows: list[list[int]], *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and where they are real, as TRL lays them out."""
    width = max(map(len, rows))
    ids, real = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for row, tokens in enumerate(rows):
        place = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        ids[row, place], real[row, place] = torch.tensor(tokens), 1
    return ids, real


def main() -> None:
    """Serve steps until the input ends."""
    task = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout = sys.stderr  # whatever the libraries have to say is not an answer
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    size = len(task["prompts"])
    with tempfile.TemporaryDirectory() as scratch:
        settings = GRPOConfig(
            output_dir=scratch,
            per_device_train_batch_size=size,
            num_generations=task["group_size"],
            max_completion_length=max(map(len, task["completions"])),
            max_steps=_FOREVER,
            learning_rate=task["learning_rate"],
            lr_scheduler_type="constant",
            epsilon=task["clip"],
            max_grad_norm=task["max_grad_norm"],
            beta=0.0,
            loss_type="bnpo",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
        )
        trainer = _Fixed(
            model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32),
            processing_class=AutoTokenizer.from_pretrained(task["model"]),
            args=settings,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            train_dataset=Dataset.from_dict({"prompt": ["x"] * size}),
            peft_config=LoraConfig(
                r=task["rank"], lora_alpha=task["alpha"], target_modules="all-linear", lora_dropout=0.0
            ),
            callbacks=[_OnRequest()],
        )
        prompt_ids, prompt_mask = padded(task["prompts"], left=True)
        completion_ids, completion_mask = padded(task["completions"], left=False)
        trainer.batch = {
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "completion_ids": completion_ids,
            "completion_mask": completion_mask,
            "advantages": torch.tensor(task["advantages"]),
            "num_items_in_batch": completion_mask.sum(),
        }
        tell({"trl": version("trl"), "torch": version("torch"), "transformers": version("transformers")})
        trainer.train()


if __name__ == "__main__":
    main()
