"""Learning-rate schedules by version, so that a resumed run continues on the same line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinearDecay:
    """From `start` at version `since` to `start * final_fraction` `over` versions later, constant after.

    >>> [round(LinearDecay(1.0, 0.5, 10).at(version), 2) for version in (0, 5, 10, 99)]
    [1.0, 0.75, 0.5, 0.5]
    """

    start: float
    final_fraction: float
    over: int
    since: int = 0

    def at(self, version: int) -> float:
        """The rate to use for the update that follows `version`."""
        share = min((version - self.since) / max(self.over, 1), 1.0)
        return self.start * (1 - share * (1 - self.final_fraction))
