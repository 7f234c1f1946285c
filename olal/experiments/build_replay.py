"""From a config to the replay buffer of a run, and the book of proofs beside it."""

from __future__ import annotations

from pathlib import Path

from olal.config import RunConfig
from olal.replay import Fifo, Prioritised, ProofBook, ReplayBuffer, Sampler

PROBE_TOLERANCE = {"float32": 1e-3}
"""Nats a token by which engine and learner may differ on the probe; half precision rounds far more."""
_HALF_PRECISION_TOLERANCE = 0.1


def build_replay(config: RunConfig, directory: Path) -> tuple[ReplayBuffer, ProofBook]:
    """Buffer and book over a run directory, as an earlier process left them.

    Raises:
        RunDirectoryInvalid: what is there cannot be read or written.
    """
    settings = config.replay
    how = settings.sampling
    sampler: Sampler = Fifo()
    if how.kind == "prioritised":
        sampler = Prioritised(how.alpha, how.age_decay_versions, seed=config.seed)
    buffer = ReplayBuffer.open(
        directory,
        settings.capacity_episodes,
        settings.capacity_mb << 20,
        sampler,
        group_size=getattr(config.plan[0].learner, "group_size", 1),
        segment_episodes=settings.segment_episodes,
        most_overtaken=_most_overtaken(config),
    )
    tolerance = PROBE_TOLERANCE.get(config.model.dtype, _HALF_PRECISION_TOLERANCE)
    return buffer, ProofBook(directory / "adapters.jsonl", tolerance=tolerance)


def _most_overtaken(config: RunConfig) -> int | None:
    share = config.replay.sampling.overtaken_share
    if config.mode == "sync" or config.replay.sampling.kind != "fifo" or share is None:
        return None
    return round(share * config.plan[0].learner.episodes_per_update)
