"""ModelConfig: the base model, whose own weights never change."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from olal.config.base import Section


class ModelConfig(Section):
    """The base model under the adapter."""

    path: str = Field(default="tiny", min_length=1)
    """A model directory, a Hugging Face hub id, or tiny for the model that comes with olal."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number format of the base weights."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto takes a GPU where there is one."""
    threads: int = Field(default=1, ge=1)
    """CPU threads of a model pass in each process; more than one slows small models down."""
