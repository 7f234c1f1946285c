"""build_replay: the replay buffer of a config, over a run directory."""

from __future__ import annotations

from pathlib import Path

from olal.config import RunConfig
from olal.replay import Fifo, Prioritised, ReplayBuffer, Sampler


def build_replay(config: RunConfig, run_dir: Path, *, group_size: int = 1) -> ReplayBuffer:
    """Open the buffer as it was when it was last acknowledged; a new directory gives an empty one.

    Args:
        config: of the run.
        run_dir: its directory.
        group_size: episodes that the learner compares with each other; 1 where it does not.

    Raises:
        RunDirectoryInvalid: the ledger is damaged or cannot be opened.
    """
    replay = config.replay
    return ReplayBuffer.open(
        run_dir,
        replay.capacity_episodes,
        replay.capacity_mb * 2**20,
        build_sampler(config),
        group_size=group_size,
        segment_episodes=replay.segment_episodes,
    )


def build_sampler(config: RunConfig) -> Sampler:
    """What chooses among the episodes that wait."""
    sampling = config.replay.sampling
    if sampling.kind == "fifo":
        return Fifo()
    return Prioritised(sampling.alpha, sampling.age_decay_versions, seed=config.seed)
