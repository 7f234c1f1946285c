"""Pinned: the initial adapter changes nothing; a batch in which every row has its own adapter equals one adapter after
the other; gradients reach the flat vector and nothing else; PEFT itself, reading what we write, computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from olal.adapters import read_peft_directory, write_peft_directory
from olal.errors import ModelInvalid
from olal.models.model_path import TINY_PATH
from olal.models.policy_network import PolicyNetwork

IDS = torch.randint(2, 400, (5, 9), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def logits_of(network: PolicyNetwork, ids: torch.Tensor = IDS) -> torch.Tensor:
    return network.base.network(input_ids=ids).logits


def test_the_initial_adapter_changes_nothing(tiny_engine: PolicyNetwork) -> None:
    plain = AutoModelForCausalLM.from_pretrained(TINY_PATH)

    tiny_engine.bank.use(torch.from_numpy(tiny_engine.bank.initial))

    with torch.no_grad():
        assert torch.equal(logits_of(tiny_engine), plain(input_ids=IDS).logits)


def test_another_adapter_changes_much(tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray]) -> None:
    tiny_engine.bank.use(torch.from_numpy(tiny_engine.bank.initial))
    before = logits_of(tiny_engine)

    tiny_engine.bank.use(torch.from_numpy(random_flat(tiny_engine, seed=1)))

    assert (logits_of(tiny_engine) - before).abs().mean() > 0.5


def test_rows_under_adapters_of_their_own_equal_each_adapter_alone(
    tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray]
) -> None:
    bank, rows = tiny_engine.bank, torch.tensor([2, 0, 1, 1, 2])
    flats = torch.from_numpy(np.stack([random_flat(tiny_engine, seed=seed) for seed in range(3)]))

    bank.use_many(flats, rows)
    together = logits_of(tiny_engine)

    for row, member in enumerate(rows):
        bank.use(flats[member])
        assert torch.allclose(together[row], logits_of(tiny_engine, IDS[row : row + 1])[0], atol=1e-5, rtol=1e-5)


def test_one_adapter_after_many_applies_to_every_row(
    tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray]
) -> None:
    flat = torch.from_numpy(random_flat(tiny_engine, seed=4))
    tiny_engine.bank.use(flat)
    expected = logits_of(tiny_engine)

    tiny_engine.bank.use_many(torch.zeros(2, len(flat)), torch.tensor([0, 1, 0, 1, 0]))
    tiny_engine.bank.use(flat)

    assert torch.equal(logits_of(tiny_engine), expected)


def test_every_process_starts_from_the_same_adapter(make_network: Callable[..., PolicyNetwork]) -> None:
    torch.manual_seed(5)
    first, second, other = make_network(seed=3).bank, make_network(seed=3).bank, make_network(seed=4).bank

    assert first.layout == second.layout
    assert first.layout.digest(first.initial) == second.layout.digest(second.initial)
    assert other.layout.digest(other.initial) != first.layout.digest(first.initial)


def test_making_a_bank_leaves_the_global_random_state_alone(make_network: Callable[..., PolicyNetwork]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)

    torch.manual_seed(7)
    make_network(seed=1)

    assert torch.equal(torch.rand(3), expected)


def test_gradients_reach_the_flat_vector_and_nothing_else(tiny_learner: PolicyNetwork) -> None:
    flat = torch.tensor(tiny_learner.bank.initial, requires_grad=True)

    tiny_learner.bank.use(flat)
    tiny_learner.base.network(input_ids=IDS).logits.square().mean().backward()

    grads = tiny_learner.bank.layout.split(flat.grad.numpy())
    assert all(np.abs(grad).max() > 0 for name, grad in grads.items() if "lora_B" in name)
    assert all(np.abs(grad).max() == 0 for name, grad in grads.items() if "lora_A" in name)
    assert not any(parameter.requires_grad for parameter in tiny_learner.base.network.parameters())
    assert all(parameter.grad is None for parameter in tiny_learner.base.network.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["layers.0.self_attn.o_proj", "down_proj"]])
def test_peft_reads_what_we_write_and_computes_the_same(
    make_network: Callable[..., PolicyNetwork],
    random_flat: Callable[..., np.ndarray],
    tmp_path: Path,
    targets: str | list[str],
) -> None:
    network = make_network(rank=3, alpha=12.0, targets=targets)
    flat = random_flat(network, seed=6)
    network.bank.use(torch.from_numpy(flat))

    write_peft_directory(tmp_path, network.bank.layout, flat, network.bank.peft_config)
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(TINY_PATH), tmp_path)

    with torch.no_grad():
        assert torch.allclose(peft(input_ids=IDS).logits, logits_of(network), atol=1e-5, rtol=1e-5)
    assert sum("lora_" in name for name, _ in peft.named_parameters()) == len(network.bank.layout.names)
    assert read_peft_directory(tmp_path, network.bank.layout).tobytes() == flat.tobytes()


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("targets", [["nothing"], [], ["embed_tokens"], ["lm_head"], ["q_proj", "lm_head"]])
def test_targets_that_cannot_be_adapted_are_refused(
    make_network: Callable[..., PolicyNetwork], targets: list[str]
) -> None:
    with pytest.raises(ModelInvalid) as caught:
        make_network(targets=targets)

    assert "\n" not in str(caught.value)
