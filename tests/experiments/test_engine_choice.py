"""Which engine a worker takes.

Pinned: `auto` is vLLM exactly where it is installed and the model may use a GPU; a vLLM that was asked for and is not
installed is said before anything starts.
"""

from __future__ import annotations

import pytest

from olal.config import load_config
from olal.errors import ConfigError
from olal.experiments import build_engine, preflight
from olal.experiments.build import build_engine as build_engine_of
from olal.models import base_model


@pytest.mark.parametrize(
    ("kind", "is_installed", "has_gpu", "device", "chosen"),
    [
        ("auto", True, True, "auto", "vllm"),
        ("auto", True, True, "cuda", "vllm"),
        ("auto", True, True, "cpu", "transformers"),
        ("auto", True, False, "auto", "transformers"),
        ("auto", False, True, "auto", "transformers"),
        ("vllm", True, False, "auto", "vllm"),
        ("transformers", True, True, "auto", "transformers"),
    ],
)
def test_auto_takes_vllm_where_it_is_installed_and_may_use_a_gpu(
    kind, is_installed, has_gpu, device, chosen, monkeypatch
):
    monkeypatch.setattr(build_engine, "has_vllm", lambda: is_installed)
    monkeypatch.setattr(base_model.torch.cuda, "is_available", lambda: has_gpu)

    config = load_config([], {"engine.kind": kind, "model.device": device})

    assert build_engine.choose_engine(config) == chosen


def test_a_vllm_that_is_not_installed_is_said_before_anything_starts(monkeypatch):
    monkeypatch.setattr(preflight, "has_vllm", lambda: False)

    with pytest.raises(ConfigError, match=r"vLLM is not installed .*make setup-vllm.*--engine transformers"):
        preflight.check_config(load_config([], {"engine.kind": "vllm"}))
    preflight.check_config(load_config([], {"engine.kind": "auto"})).close()


@pytest.fixture
def started(monkeypatch):
    """Settings with which a vLLM engine was started; none is."""
    calls = []
    monkeypatch.setattr("olal.inference.vllm.engine.VllmEngine", lambda network, **settings: calls.append(settings))
    return calls


def test_a_vllm_engine_gets_the_settings_of_the_config_and_no_second_copy_of_the_weights(started):
    overrides = {
        "engine.kind": "vllm",
        "engine.kv_cache_mb": 7,
        "engine.max_batch": 5,
        "engine.speculation.kind": "suffix",
        "engine.speculation.num_tokens": 3,
        "model.dtype": "bfloat16",
        "model.threads": 2,
    }

    _, network = build_engine_of(load_config([], overrides))

    assert network.bank.layout.num_parameters > 0
    drafter = started[0].pop("drafter")
    assert type(drafter).__name__ == "NgramDrafter"
    assert started == [
        {"dtype": "bfloat16", "kv_cache_bytes": 7 << 20, "max_batch": 5, "num_draft_tokens": 3, "threads": 2}
    ]


def test_vllm_lets_no_small_model_write_alone_and_says_so_once(started, caplog):
    speculation = {"kind": "draft_model", "draft_model": "tiny", "role": "delegate"}
    config = load_config([], {"engine.kind": "vllm", "engine.speculation": speculation})

    build_engine_of(config)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "exact" in caplog.text
    assert "delegate" not in started[0]
    assert type(started[0]["drafter"]).__name__ == "DraftModelDrafter"
