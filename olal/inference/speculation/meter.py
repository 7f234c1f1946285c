"""SpeculationMeter: whether drafting pays, measured while it runs.

Steps with and without drafts are timed apart, by how many rows they carried, since a pass that is wide already has
little to gain. What is sampled is the same in both kinds of step, so switching changes nothing but speed.
"""

from __future__ import annotations

_PROBE_EVERY = 50
_PROBE_STEPS = 4
_MEMORY = 0.9


class SpeculationMeter:
    """Decides before every step whether to draft."""

    def __init__(self) -> None:
        """Nothing measured yet: the first steps try both."""
        self._decisions: dict[tuple[int, bool], float] = {}
        self._seconds: dict[tuple[int, bool], float] = {}
        self._steps: dict[int, int] = {}

    def wants_drafts(self, num_rows: int) -> bool:
        """Whether the next step, over this many rows, should draft."""
        size = num_rows.bit_length()
        step = self._steps[size] = self._steps.get(size, -1) + 1
        phase = step % _PROBE_EVERY
        if phase < 2 * _PROBE_STEPS:
            return phase < _PROBE_STEPS
        return self.pays(num_rows)

    def record(self, num_rows: int, *, drafted: bool, num_decisions: int, duration_s: float) -> None:
        """Add a step: how many decisions it made in how many seconds."""
        key = (num_rows.bit_length(), drafted)
        self._decisions[key] = _MEMORY * self._decisions.get(key, 0.0) + num_decisions
        self._seconds[key] = _MEMORY * self._seconds.get(key, 0.0) + duration_s

    def pays(self, num_rows: int) -> bool:
        """Whether drafted steps of this size make more decisions per second, as far as is known."""
        size = num_rows.bit_length()
        return self._rate(size, drafted=True) >= self._rate(size, drafted=False)

    def _rate(self, size: int, *, drafted: bool) -> float:
        seconds = self._seconds.get((size, drafted), 0.0)
        return self._decisions[size, drafted] / seconds if seconds else 0.0
