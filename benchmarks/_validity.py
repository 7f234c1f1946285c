"""Generations from a model with random weights over the corpus, judged by the corpus's own validators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from _grammars import Case

from olal.inference.transformers_engine import TransformersEngine
from olal.models.base_model import load_base_model
from olal.models.lora_bank import LoraBank
from olal.models.policy_network import PolicyNetwork
from olal.models.tiny_recipe import make_network
from olal.types import Completion, GenerateRequest, SamplingParams


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the generations.

    Attributes:
        num_complete: said to be complete.
        num_cut: said to be cut by the token limit.
        num_other: neither; errors, for one.
        invalid: case and text of those said to be complete that the validator refuses.
        num_cut_valid: cut ones whose text happens to be a sentence.
    """

    num_complete: int
    num_cut: int
    num_other: int
    invalid: tuple[tuple[str, str], ...]
    num_cut_valid: int


def random_engine(seed: int = 0, max_batch: int = 64) -> TransformersEngine:
    """An engine on the tiny model's tokenizer and architecture, with weights drawn at random."""
    base = load_base_model("tiny", device="cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(base.network.config.vocab_size)
    base = replace(base, network=network.eval().requires_grad_(False))
    bank = LoraBank(base.network, rank=2, alpha=4.0, targets="all-linear", seed=0)
    return TransformersEngine(PolicyNetwork(base, bank), max_batch=max_batch)


def judge(engine: TransformersEngine, cases: Sequence[Case], each: int, *, max_tokens: int = 96) -> Tally:
    """Generate `each` sentences of every case, at temperature 1, and count."""
    num_complete = num_cut = num_cut_valid = num_other = 0
    invalid: list[tuple[str, str]] = []
    for number, case in enumerate(cases):
        for completion in engine.generate(_requests(number, case, each, max_tokens)):
            is_valid = _is_valid(case, completion)
            if completion.stop_reason == "grammar":
                num_complete += 1
                invalid.extend([] if is_valid else [(case.name, completion.text)])
            elif completion.stop_reason == "length":
                num_cut += 1
                num_cut_valid += is_valid
            else:
                num_other += 1
    return Tally(num_complete, num_cut, num_other, tuple(invalid), num_cut_valid)


def _requests(number: int, case: Case, each: int, max_tokens: int) -> list[GenerateRequest]:
    sampling = SamplingParams(temperature=1.0, max_tokens=max_tokens)
    prompt = (2 + number, 3, 5)
    return [GenerateRequest(prompt, case.spec, sampling, seed=number * each + i) for i in range(each)]


def _is_valid(case: Case, completion: Completion) -> bool:
    return case.is_valid(completion.text)
