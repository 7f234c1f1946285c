"""Pinned: the network's passes are exact on decoders of other makes too: absolute positions, transposed linears,
sliding windows, capped logits, flattened hidden states; so are passes in which a shared front stands once. The models
are small, random and never trained.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import transformers

from olal.adapters import Members, SeedSpace, make_records
from olal.models.base_model import BaseModel
from olal.models.lora_bank import LoraBank
from olal.models.policy_network import PolicyNetwork

TOKENS = {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 64}
DECODER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4} | TOKENS
SHORT = {"num_key_value_heads": 2, "initializer_range": 0.3} | DECODER
OPT = {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.3}
GPT2 = {
    "vocab_size": 50,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "bos_token_id": 1,
    "eos_token_id": 1,
}

MAKERS: dict[str, Callable[[], transformers.PretrainedConfig]] = {
    "gemma": lambda: transformers.GemmaConfig(**SHORT, head_dim=8),
    "gemma2": lambda: transformers.Gemma2Config(**SHORT, head_dim=8, layer_types=["full_attention"] * 2),
    "llama": lambda: transformers.LlamaConfig(**SHORT),
    "mistral": lambda: transformers.MistralConfig(**SHORT, sliding_window=None),
    "phi3": lambda: transformers.Phi3Config(**SHORT),
    "qwen2": lambda: transformers.Qwen2Config(**SHORT),
    "smollm3": lambda: transformers.SmolLM3Config(**SHORT, no_rope_layers=[1, 0]),
    "gpt2": lambda: transformers.GPT2Config(**GPT2, initializer_range=0.3),
    "opt": lambda: transformers.OPTConfig(**DECODER, **OPT),
    "qwen3": lambda: transformers.Qwen3Config(**SHORT, head_dim=8),
    "mistral with a sliding window": lambda: transformers.MistralConfig(**SHORT, sliding_window=4),
    "gemma2 with a sliding window": lambda: transformers.Gemma2Config(**SHORT, head_dim=8, sliding_window=4),
}
CUTS = [1, 12, 0, 7]


@pytest.fixture(params=MAKERS)
def network(request: pytest.FixtureRequest) -> PolicyNetwork:
    config = MAKERS[request.param]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    bank = LoraBank(model, rank=2, alpha=4.0, targets="all-linear", seed=0)
    return PolicyNetwork(BaseModel("", model, None, None), bank)


@pytest.fixture
def flat(network: PolicyNetwork) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal(network.bank.layout.num_parameters)
    return torch.from_numpy((network.bank.initial + 0.1 * noise).astype(np.float32))


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_passes_equal_a_full_forward(network: PolicyNetwork, flat: torch.Tensor) -> None:
    sequences = [tuple(np.random.default_rng(i).integers(2, 50, cut + 6 - i).tolist()) for i, cut in enumerate(CUTS)]
    network.bank.use(flat)
    with torch.no_grad():
        full = [network.base.network(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    pasts = [network.extend([None], [sequences[i][:cut]])[0][0] if cut else None for i, cut in enumerate(CUTS)]
    rows, columns = torch.tensor([0, 1, 3, 2, 1]), torch.tensor([3, 12, 9, 0, 16])

    _, extended = network.extend(pasts, [sequences[i][cut:] for i, cut in enumerate(CUTS)])
    picked, _ = network.at_positions(sequences, rows, columns)
    network.bank.use_many(torch.stack([-flat, flat]), torch.ones(4, dtype=torch.long))
    many, _ = network.at_positions(sequences, rows, columns)

    expected = torch.stack([full[row][column] for row, column in zip(rows, columns, strict=True)])
    assert torch.allclose(extended, torch.stack([logits[-1] for logits in full]), atol=1e-4)
    assert torch.allclose(picked, expected, atol=1e-4)
    assert torch.allclose(many, expected, atol=1e-4)


FRONT = tuple(range(2, 16))
ALIKE = [(*FRONT, 20), (*FRONT[:9], 21, 22, 23), FRONT, (*FRONT[:9], 21, 24), (30, *FRONT), (*FRONT, 25), (*FRONT, 26)]
ROWS, COLUMNS = torch.tensor([1, 0, 0, 2, 3, 4, 1, 1]), torch.tensor([11, 14, 8, 13, 10, 14, 11, 3])


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@torch.no_grad()
def test_what_sequences_share_may_stand_once(network: PolicyNetwork, flat: torch.Tensor) -> None:
    space = SeedSpace(network.bank.layout, network.bank.initial)
    members = Members(space, flat.numpy(), make_records(np.array([3, 3], np.uint64), np.array([0.05, -0.05])))
    laid = network.lay_out(ALIKE, ROWS, COLUMNS)

    network.bank.use_members(members)
    together, _ = network.read(laid.copies(2))

    for member, logits in enumerate(together.chunk(2)):
        network.bank.use(torch.tensor(members.block(0, len(flat))[member]))
        alone = [network.base.network(input_ids=torch.tensor([ids])).logits[0] for ids in ALIKE]
        expected = torch.stack([alone[row][column] for row, column in zip(ROWS, COLUMNS, strict=True)])
        assert torch.allclose(network.read(laid)[0], expected, atol=1e-4)
        assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_sequences_share_unless_some_layer_does_not_see_everything(
    network: PolicyNetwork, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["network"]

    laid = network.lay_out(ALIKE, ROWS, COLUMNS)

    assert (laid.positions is not None) == (name != "opt" and "sliding" not in name)
