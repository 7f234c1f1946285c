"""GivenEpisodes: episodes from a file for a learner to imitate, batch after batch, in an order of the run's seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from olal.errors import ConfigError
from olal.replay import from_json
from olal.types import Trajectory


class GivenEpisodes:
    """All episodes of a JSON lines file, as a run directory holds them."""

    def __init__(self, path: Path, *, seed: int) -> None:
        """Read the file.

        Args:
            path: of the file.
            seed: of the order.

        Raises:
            ConfigError: it cannot be read, is empty, or has a line that is no episode.
        """
        self._seed = seed
        self._episodes: list[Trajectory] = []
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"learner.trajectories must be a readable file ({error}): {path}") from error
        for number, line in enumerate(lines, start=1):
            try:
                self._episodes.append(from_json(json.loads(line)))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                raise ConfigError(
                    f"learner.trajectories: not an episode of olal ({reason}): {path}:{number}"
                ) from error
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
