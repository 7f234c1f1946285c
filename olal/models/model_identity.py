"""What a base model is, in a few characters, without loading it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from olal.models.model_path import resolve_model_path

_PATTERNS = ("config.json", "tokenizer.json", "*.safetensors", "pytorch_model*.bin")
_SAMPLE_BYTES = 1 << 16


def model_identity(path: str) -> str:
    """Identify a model by its files, wherever they lie; a model of the hub by its name.

    Of every file the name, the size, the beginning and the end are taken: enough to tell models apart, and quick where
    the weights are many gigabytes.

    Args:
        path: a directory, a hub name, or "tiny".

    Returns:
        16 hex digits, or the name on the hub.

    Raises:
        ModelInvalid: no such model.
    """
    resolved = Path(resolve_model_path(path))
    if not resolved.is_dir():
        return path
    hasher = hashlib.sha256()
    for file in sorted({file for pattern in _PATTERNS for file in resolved.glob(pattern)}):
        size = file.stat().st_size
        hasher.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as data:
            hasher.update(data.read(_SAMPLE_BYTES))
            data.seek(max(size - _SAMPLE_BYTES, 0))
            hasher.update(data.read())
    return hasher.hexdigest()[:16]
