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
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

from olal.adapters.layout import AdapterLayout
from olal.adapters.peft_directory import CONFIG_FILE, WEIGHTS_FILE, read_peft_directory, write_peft_directory
from olal.errors import AdapterMismatch, CheckpointCorrupt, CheckpointNotWritten

COMMIT_FILE = "COMMIT"
_STATE_FILE, _ARRAYS_FILE, _ADAPTER = "state.json", "learner.safetensors", "adapter"
_FILES = frozenset({_STATE_FILE, _ARRAYS_FILE, f"{_ADAPTER}/{WEIGHTS_FILE}", f"{_ADAPTER}/{CONFIG_FILE}"})


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
    """Write a checkpoint under `root` and drop the oldest beyond `keep`, and what a killed writer left.

    Returns:
        The directory, complete.

    Raises:
        CheckpointNotWritten: the disk is full or gone; nothing of the checkpoint stays.
    """
    final = root / f"step-{checkpoint.version:08d}"
    scratch = root / f"{final.name}.tmp-{os.getpid()}"
    try:
        return _write(root, final, scratch, checkpoint, layout, peft_config, keep)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(scratch, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointNotWritten(f"make room, or check the disk ({reason}): {root}") from error


def _write(
    root: Path,
    final: Path,
    scratch: Path,
    checkpoint: Checkpoint,
    layout: AdapterLayout,
    peft_config: Mapping[str, Any],
    keep: int,
) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    write_peft_directory(scratch / _ADAPTER, layout, checkpoint.flat, peft_config)
    # ascontiguousarray makes a vector of a scalar, such as an optimizer's step count
    arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in checkpoint.arrays.items()}
    save_file(arrays, scratch / _ARRAYS_FILE)
    state = {**checkpoint.state, "version": checkpoint.version, "adapter_digest": layout.digest(checkpoint.flat)}
    (scratch / _STATE_FILE).write_text(json.dumps(state, indent=2) + "\n")
    sums = {path.relative_to(scratch).as_posix(): _sync_and_digest(path) for path in _files(scratch)}
    _sync_directory(scratch / _ADAPTER)
    _sync_directory(scratch)
    _remove(final)
    scratch.rename(final)
    marker = final / (COMMIT_FILE + ".tmp")
    marker.write_text(json.dumps(sums, indent=2) + "\n")
    _sync_and_digest(marker)
    marker.rename(final / COMMIT_FILE)
    _sync_directory(final)
    _sync_directory(root)
    for old in complete_checkpoints(root)[:-keep]:
        _remove(old)
    for left_by_a_kill in root.glob("step-*.tmp-*"):
        shutil.rmtree(left_by_a_kill, ignore_errors=True)
    return final


def read_checkpoint(path: Path, layout: AdapterLayout) -> Checkpoint:
    """Read a checkpoint and check every file against its COMMIT marker.

    Raises:
        CheckpointCorrupt: it is incomplete or a file was altered.
        AdapterMismatch: it belongs to another adapter shape.
    """
    try:
        sums: dict[str, str] = dict(json.loads((path / COMMIT_FILE).read_text()))
        found = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in _FILES}
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointCorrupt(f"the checkpoint is incomplete ({error}): {path}") from error
    if found != sums:
        altered = min(name for name, _ in found.items() ^ sums.items())
        raise CheckpointCorrupt(f"a file was altered since the checkpoint was written: {path / altered}")
    state = json.loads((path / _STATE_FILE).read_text())
    flat = read_peft_directory(path / _ADAPTER, layout)
    version, digest = state.pop("version"), state.pop("adapter_digest")
    if layout.digest(flat) != digest:
        raise AdapterMismatch(f"the adapter must have digest {digest} under this model's layout: {layout.digest(flat)}")
    return Checkpoint(version, flat, load_file(path / _ARRAYS_FILE), state)


def complete_checkpoints(root: Path) -> list[Path]:
    """Directories under `root` that carry a COMMIT marker, oldest first."""
    return sorted(path for path in root.glob("step-*") if (path / COMMIT_FILE).is_file())


def _remove(path: Path) -> None:
    """Delete a checkpoint, its marker first: a half-deleted one must not look complete."""
    if path.exists():
        (path / COMMIT_FILE).unlink(missing_ok=True)
        shutil.rmtree(path)


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
