"""LoRA state as one flat vector: its layout, digest, noise, and its form on disk."""

from olal.adapters.checkpoint import Checkpoint, complete_checkpoints, read_checkpoint, write_checkpoint
from olal.adapters.layout import AdapterLayout
from olal.adapters.noise import NOISE_VERSION, rademacher
from olal.adapters.peft_directory import read_peft_directory, write_peft_directory

__all__ = [
    "NOISE_VERSION",
    "AdapterLayout",
    "Checkpoint",
    "complete_checkpoints",
    "rademacher",
    "read_checkpoint",
    "read_peft_directory",
    "write_checkpoint",
    "write_peft_directory",
]
