"""Checkpoints: written beside, flushed to disk, renamed, then marked complete. Nothing is pickled.

In this order:

    step-00000010.tmp-4711/   adapter/ learner.safetensors state.json     written and fsynced
    step-00000010/            the same, after one rename
    step-00000010/COMMIT      sha256 of every file; a directory without it does not exist for a reader
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from olal.adapters.layout import AdapterLayout
from olal.adapters.peft_directory import read_peft_directory, write_peft_directory
from olal.errors import CheckpointCorrupt

COMMIT_FILE = "COMMIT"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything a learner needs to go on as if it had never stopped.

    Attributes:
        version: policy version of the adapter.
        flat: the adapter, float32 of shape (num_parameters,).
        arrays: optimizer moments, critic weights and the like, by name.
        state: random-generator states and counters, JSON values only.
    """

    version: int
    flat: NDArray[np.float32]
    arrays: Mapping[str, NDArray[Any]]
    state: Mapping[str, Any]


def write_checkpoint(
    root: Path, checkpoint: Checkpoint, layout: AdapterLayout, peft_config: Mapping[str, Any], *, keep: int
) -> Path:
    """Write a checkpoint under `root` and drop the oldest beyond `keep`.

    Returns:
        The directory, complete.
    """
    final = root / f"step-{checkpoint.version:08d}"
    scratch = root / f"{final.name}.tmp-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    write_peft_directory(scratch / "adapter", layout, checkpoint.flat, peft_config)
    save_file(
        {name: np.ascontiguousarray(array) for name, array in checkpoint.arrays.items()},
        scratch / "learner.safetensors",
    )
    state = {"version": checkpoint.version, "adapter_digest": layout.digest(checkpoint.flat), **checkpoint.state}
    (scratch / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    sums = {str(path.relative_to(scratch)): _sync_and_digest(path) for path in _files(scratch)}
    if final.exists():
        shutil.rmtree(final)
    scratch.rename(final)
    marker = final / (COMMIT_FILE + ".tmp")
    marker.write_text(json.dumps(sums, indent=2) + "\n")
    _sync_and_digest(marker)
    marker.rename(final / COMMIT_FILE)
    _sync_directory(root)
    for old in complete_checkpoints(root)[:-keep]:
        shutil.rmtree(old)
    return final


def read_checkpoint(path: Path, layout: AdapterLayout) -> Checkpoint:
    """Read a checkpoint and check every file against its COMMIT marker.

    Raises:
        CheckpointCorrupt: it is incomplete or a file was altered.
        AdapterMismatch: it belongs to another base model or adapter shape.
    """
    try:
        sums = json.loads((path / COMMIT_FILE).read_text())
        for name, digest in sums.items():
            if hashlib.sha256((path / name).read_bytes()).hexdigest() != digest:
                raise CheckpointCorrupt(f"a file was altered since the checkpoint was written: {path / name}")
        state = json.loads((path / "state.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointCorrupt(f"the checkpoint is incomplete ({error}): {path}") from error
    flat = read_peft_directory(path / "adapter", layout)
    return Checkpoint(state.pop("version"), flat, load_file(path / "learner.safetensors"), state)


def complete_checkpoints(root: Path) -> list[Path]:
    """Directories under `root` that carry a COMMIT marker, oldest first."""
    return sorted(path for path in root.glob("step-*") if (path / COMMIT_FILE).is_file())


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _sync_and_digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
