"""Speculation: tokens guessed ahead, checked by the model in one pass. Nothing here changes what is sampled."""

from olal.inference.speculation.base import Drafter
from olal.inference.speculation.draft_path import DraftPath
from olal.inference.speculation.meter import SpeculationMeter

__all__ = ["DraftPath", "Drafter", "SpeculationMeter"]
