"""Credit: pure numpy functions from rewards and values to advantages."""

from olal.returns.gae import discounted_returns, gae, normalise
from olal.returns.group import group_advantages
from olal.returns.vtrace import vtrace

__all__ = ["discounted_returns", "gae", "group_advantages", "normalise", "vtrace"]
