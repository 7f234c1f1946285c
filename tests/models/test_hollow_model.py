"""A hollow model says of an adapter what the whole model says (layout, first values, description) without weights."""

from __future__ import annotations

import numpy as np
import pytest

from olal.errors import ModelInvalid
from olal.models.base_model import load_base_model
from olal.models.hollow_model import load_hollow_model
from olal.models.lora_bank import LoraBank


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]], ids=str)
@pytest.mark.parametrize(("rank", "seed"), [(4, 0), (3, 17)])
def test_a_bank_is_the_same_with_and_without_weights(dtype, targets, rank, seed):
    settings = {"rank": rank, "alpha": 8.0, "targets": targets, "seed": seed}

    whole = LoraBank(load_base_model("tiny", dtype=dtype, device="cpu").network, **settings)
    hollow = LoraBank(load_hollow_model("tiny", dtype=dtype).network, **settings)

    assert hollow.layout == whole.layout
    assert np.array_equal(hollow.initial, whole.initial)
    assert hollow.peft_config == whole.peft_config


def test_tokenizer_and_vocabulary_are_those_of_the_whole_model():
    whole, hollow = load_base_model("tiny", device="cpu"), load_hollow_model("tiny")

    assert hollow.vocabulary.size == whole.vocabulary.size
    assert hollow.vocabulary.eos_token_id == whole.vocabulary.eos_token_id
    assert hollow.tokenizer.get_vocab() == whole.tokenizer.get_vocab()


def test_no_weights_are_held():
    network = load_hollow_model("tiny").network

    held = sum(parameter.untyped_storage().nbytes() for parameter in network.parameters())

    assert held == 4 * sum(1 for _ in network.parameters())


def test_a_model_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(ModelInvalid, match="cannot be loaded"):
        load_hollow_model(str(tmp_path))
