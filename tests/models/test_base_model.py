"""Pinned: what a path may be; a model that cannot be used is one line that says so; a loaded model is frozen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from olal.errors import ModelInvalid
from olal.models.base_model import load_base_model
from olal.models.model_path import TINY_PATH, resolve_model_path


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(TINY_PATH, tmp_path / "model"))


def refusal(path: str) -> str:
    with pytest.raises(ModelInvalid) as caught:
        load_base_model(path, device="cpu")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(path)
    return str(caught.value)


def test_tiny_is_the_model_that_ships_with_olal() -> None:
    assert resolve_model_path("tiny") == str(TINY_PATH)
    assert sum(file.stat().st_size for file in TINY_PATH.rglob("*")) < 3_000_000


def test_a_directory_stands_for_itself_and_a_name_for_the_hub(copy: Path) -> None:
    assert resolve_model_path(str(copy)) == str(copy)
    assert resolve_model_path("nobody/such-model") == "nobody/such-model"


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./models/mine", "~/no-such-model-here", "tinny", "a/b/c"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(ModelInvalid, match=r"no such model.*owner/name"):
        resolve_model_path(path)


def test_a_directory_without_a_config_is_refused(copy: Path) -> None:
    (copy / "config.json").unlink()

    assert "config.json" in refusal(str(copy))


def test_a_directory_without_a_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()

    assert "no tokenizer" in refusal(str(copy))


def test_a_directory_without_weights_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").unlink()

    assert "cannot be loaded" in refusal(str(copy))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"{ no" + (copy / name).read_bytes()[:100])

    assert "cannot be loaded" in refusal(str(copy))


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))

    assert "cannot be loaded" in refusal(str(copy))


def test_a_tokenizer_without_an_end_is_refused(copy: Path) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "eos_token"}))

    assert "end-of-sequence" in refusal(str(copy))


def test_a_loaded_model_is_frozen_and_as_wide_as_its_vocabulary() -> None:
    base = load_base_model("tiny", device="cpu")

    assert not base.network.training
    assert not any(parameter.requires_grad for parameter in base.network.parameters())
    assert base.vocabulary.size == base.network.config.vocab_size
    assert base.vocabulary.eos_token_id == base.tokenizer.eos_token_id
