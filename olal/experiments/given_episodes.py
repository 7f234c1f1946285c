"""GivenEpisodes: episodes from a file for a learner to imitate, batch after batch, in an order of the run's seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from olal.errors import ConfigError, RunDirectoryInvalid
from olal.replay import read_episodes
from olal.types import Trajectory


class GivenEpisodes:
    """All episodes of a segment of a run, or of its whole `episodes` directory."""

    def __init__(self, path: Path, *, seed: int) -> None:
        """Read the file, or all files of the directory.

        Args:
            path: JSON lines, or Parquet where the segment was sealed, or a directory of such.
            seed: of the order.

        Raises:
            ConfigError: it cannot be read, is empty, or has a line that is no episode.
        """
        self._seed = seed
        try:
            self._episodes: list[Trajectory] = read_episodes(path)
        except OSError as error:
            raise ConfigError(
                f"learner.trajectories must be a readable file or directory ({error.strerror}): {path}"
            ) from error
        except RunDirectoryInvalid as error:
            raise ConfigError(f"learner.trajectories: {error}") from error
        if not self._episodes:
            raise ConfigError(f"learner.trajectories: no episode in {path}")

    def __len__(self) -> int:
        return len(self._episodes)

    def batch(self, update: int, size: int) -> list[Trajectory]:
        """Episodes of one update: every one once, in a new order each time the file is through.

        Args:
            update: number of the update within its stage.
            size: episodes wanted; fewer come only from a smaller file.
        """
        size = min(size, len(self))
        per_pass = len(self) // size
        order = np.random.default_rng([self._seed, update // per_pass]).permutation(len(self))
        start = update % per_pass * size
        return [self._episodes[index] for index in order[start : start + size]]
