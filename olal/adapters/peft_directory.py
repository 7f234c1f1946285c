"""Adapters on disk in PEFT's layout, which PEFT, vLLM and others read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from olal.adapters.layout import AdapterLayout
from olal.errors import AdapterMismatch

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def write_peft_directory(
    path: Path, layout: AdapterLayout, flat: NDArray[np.float32], peft_config: Mapping[str, Any]
) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json` into a new or empty directory.

    Args:
        path: the directory.
        layout: names and shapes.
        flat: float32, shape (layout.num_parameters,).
        peft_config: PEFT's own description of the adapter (JSON values only).
    """
    path.mkdir(parents=True, exist_ok=True)
    save_file(layout.split(np.ascontiguousarray(flat)), path / WEIGHTS_FILE, metadata={"format": "pt"})
    (path / CONFIG_FILE).write_text(json.dumps(peft_config, indent=2, sort_keys=True) + "\n")


def read_peft_directory(path: Path, layout: AdapterLayout) -> NDArray[np.float32]:
    """Read an adapter back as a flat vector.

    Raises:
        AdapterMismatch: no adapter is there, it is damaged, or it belongs to another layout.
    """
    try:
        return layout.join(load_file(path / WEIGHTS_FILE))
    except (OSError, SafetensorError) as error:
        raise AdapterMismatch(f"no readable {WEIGHTS_FILE} ({error}): {path}") from error
