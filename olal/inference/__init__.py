"""Engines: whatever runs the model for those who act. `Engine` is the seam; each engine is one file."""

from olal.inference.base import Engine

__all__ = ["Engine"]
