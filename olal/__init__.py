"""Online language-agent learning: train LLM agents while they act."""

from importlib import metadata

try:
    __version__ = metadata.version("olal")
except metadata.PackageNotFoundError:  # run from a folder, not installed
    __version__ = "0.0.0"

__all__ = ["__version__"]
