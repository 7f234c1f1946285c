"""Where a model is, found without loading anything: a directory, a hub name, or the tiny model that ships with olal."""

from __future__ import annotations

from pathlib import Path

from olal.errors import ModelInvalid

TINY = "tiny"
TINY_PATH = Path(__file__).parent / "tiny_base"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def resolve_model_path(path: str) -> str:
    """The directory or hub name that `path` stands for.

    Raises:
        ModelInvalid: a directory without a model or a tokenizer, or a name that can be neither.
    """
    if path == TINY:
        return str(TINY_PATH)
    directory = Path(path).expanduser()
    if not directory.is_dir():
        if path.count("/") == 1 and not path.startswith((".", "/", "~")) and not directory.parent.exists():
            return path
        raise ModelInvalid(f"no such model; give a directory, a hub name (owner/name) or '{TINY}': {path}")
    if not (directory / "config.json").is_file():
        raise ModelInvalid(f"the model directory has no config.json; save the model with save_pretrained: {path}")
    if not any((directory / name).is_file() for name in _TOKENIZER_FILES):
        raise ModelInvalid(f"the model directory has no tokenizer; save one with tokenizer.save_pretrained: {path}")
    return str(directory)
