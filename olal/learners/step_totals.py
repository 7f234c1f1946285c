"""StepTotals: what the gradient steps of one update said of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class StepTotals:
    """Sums of the terms of the steps that were made.

    Attributes:
        steps: how many.
        kl: of the last minibatch, made into a step or not.
        sums: by name.
    """

    steps: int = 0
    kl: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, terms: Mapping[str, float]) -> None:
        """Count one more step."""
        self.steps += 1
        for name, term in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + term

    def means(self) -> dict[str, float]:
        """Terms by step."""
        return {name: total / max(self.steps, 1) for name, total in self.sums.items()}
