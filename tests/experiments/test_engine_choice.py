"""Which engine a worker takes.

Pinned: `auto` is vLLM exactly where it is installed and the model may use a GPU; a vLLM that was asked for and is not
installed is said before anything starts.
"""

from __future__ import annotations

import pytest

from olal.config import load_config
from olal.errors import ConfigError
from olal.experiments import build_engine, preflight
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
