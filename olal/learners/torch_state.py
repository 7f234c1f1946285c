"""Optimizer and random-generator state as named arrays and JSON values, so that checkpoints need no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def optimizer_arrays(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, NDArray[Any]]:
    """Per-parameter state of an optimizer, keyed `prefix.parameter.name`."""
    return {
        f"{prefix}.{index}.{name}": value.detach().cpu().numpy().copy()  # the optimizer goes on in its own
        for index, entries in optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }


def restore_optimizer(prefix: str, optimizer: torch.optim.Optimizer, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put back what `optimizer_arrays` took."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        if key.startswith(prefix + "."):
            index, name = key[len(prefix) + 1 :].split(".")
            state.setdefault(int(index), {})[name] = torch.from_numpy(array.copy())
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_state(generator: np.random.Generator) -> dict[str, Any]:
    """State of a Philox generator as JSON values."""
    state: Any = generator.bit_generator.state
    return {
        "counter": [int(word) for word in state["state"]["counter"]],
        "key": [int(word) for word in state["state"]["key"]],
        "buffer": [int(word) for word in state["buffer"]],
        "buffer_pos": int(state["buffer_pos"]),
        "has_uint32": int(state["has_uint32"]),
        "uinteger": int(state["uinteger"]),
    }


def restore_random(generator: np.random.Generator, saved: Mapping[str, Any]) -> None:
    """Put back what `random_state` took."""
    generator.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": np.array(saved["counter"], np.uint64), "key": np.array(saved["key"], np.uint64)},
        "buffer": np.array(saved["buffer"], np.uint64),
        "buffer_pos": saved["buffer_pos"],
        "has_uint32": saved["has_uint32"],
        "uinteger": saved["uinteger"],
    }
