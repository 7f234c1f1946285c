"""AdapterConfig: the LoRA adapter, which is all that is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from olal.config.base import Section


class AdapterConfig(Section):
    """Shape of the LoRA adapter."""

    rank: int = Field(default=8, ge=1)
    """Rank of every update matrix."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the update; alpha / rank multiplies it."""
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """Names of the adapted modules, or all-linear for every linear layer but the output head."""
    snapshot_every: int = Field(default=16, ge=1)
    """Versions between two whole adapters where updates are published as seeds; at 1 whole ones alone are."""
