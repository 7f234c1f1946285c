"""Credit: pure numpy functions from rewards and values to advantages."""

from olal.returns.gae import discounted_returns, gae, normalise

__all__ = ["discounted_returns", "gae", "normalise"]
