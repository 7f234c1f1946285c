"""AdaptiveConcurrency: how many episodes to play at once, learned from what the engine says of itself.

Additive increase, multiplicative decrease, as networks share a line: grow while there is room and more is gained by
it, trim where memory gets scarce, halve where requests have lost theirs. A pure state machine: no clock, no thread.

    kv use   0 ............ grow_below ........ trim_above ....... cut_above
             grow, if it pays             hold             trim           halve
"""

from __future__ import annotations

from olal.errors import ConfigError
from olal.types import EngineLoad

_GAIN = 1.02
_FIRST_PAUSE, _LONGEST_PAUSE = 4, 64


class AdaptiveConcurrency:
    """A limit between 1 and `most` that moves by one observation at a time."""

    def __init__(
        self,
        most: int,
        *,
        start: int = 16,
        grow_below: float = 0.6,
        trim_above: float = 0.8,
        cut_above: float = 0.9,
    ) -> None:
        """Begin at `start`, doubling as long as it pays.

        Args:
            most: the limit is never above.
            start: first limit.
            grow_below: KV use up to which the limit may grow.
            trim_above: KV use from which on it shrinks a little.
            cut_above: KV use from which on it is halved.

        Raises:
            ConfigError: the bounds are not in order.
        """
        if most < 1 or start < 1:
            raise ConfigError(f"at least one episode must be played at once: {most}, {start}")
        if not 0 < grow_below <= trim_above <= cut_above:
            raise ConfigError(
                f"growing, trimming and cutting must be in order: {grow_below}, {trim_above}, {cut_above}"
            )
        self.limit = min(start, most)
        self._most = most
        self._bounds = (grow_below, trim_above, cut_above)
        self._num_preempted = 0
        self._is_doubling = True
        self._before: tuple[int, float] | None = None
        self._pause, self._next_pause = 0, _FIRST_PAUSE

    def observe(self, load: EngineLoad, throughput: float, *, is_full: bool) -> int:
        """Learn from one interval, and return the new limit.

        Args:
            load: of the engine at the end of the interval.
            throughput: what was got done in it, per second, in any unit.
            is_full: whether the limit was reached; where fewer episodes were to be played it says nothing.
        """
        grow_below, trim_above, cut_above = self._bounds
        preempted, self._num_preempted = load.num_preempted - self._num_preempted, load.num_preempted
        if preempted > 0 or load.kv_use >= cut_above:
            self._shrink_to(self.limit // 2)
        elif load.kv_use >= trim_above:
            self._shrink_to(self.limit - max(1, self.limit // 16))
        elif is_full and load.kv_use < grow_below and not load.num_waiting:
            self._climb(throughput)
        return self.limit

    def _shrink_to(self, limit: int) -> None:
        self.limit = max(1, limit)
        self._is_doubling, self._before = False, None
        self._pause = _FIRST_PAUSE

    def _climb(self, throughput: float) -> None:
        """Grow; take it back where nothing was gained, and try again after a pause that gets longer each time."""
        if self._pause > 0:
            self._pause -= 1
            return
        if self._before is not None and throughput < _GAIN * self._before[1]:
            self.limit, self._before, self._is_doubling = self._before[0], None, False
            self._pause, self._next_pause = self._next_pause, min(2 * self._next_pause, _LONGEST_PAUSE)
            return
        if self._before is not None:
            self._next_pause = _FIRST_PAUSE
        if self.limit == self._most:
            self._before = None
            return
        self._before = (self.limit, throughput)
        step = self.limit if self._is_doubling else max(1, self.limit // 8)
        self.limit = min(self._most, self.limit + step)
