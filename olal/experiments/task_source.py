"""TaskSource: which episode comes next. Ids are handed out in order; those that were lost come first."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from olal.types import EpisodeTask


class TaskSource:
    """Hands out episodes by number, whole groups at a time.

    A task is a function of its number, so one that is handed out again is the same task.
    """

    def __init__(self, make_task: Callable[[int], EpisodeTask], next_episode: int = 0, *, group_size: int = 1) -> None:
        """Start at a number.

        Args:
            make_task: the task of a number.
            next_episode: the first number never handed out.
            group_size: new numbers are handed out in runs of this length.
        """
        self._make_task = make_task
        self._group_size = group_size
        self._again: list[int] = []
        self.next_episode = next_episode

    @property
    def num_waiting(self) -> int:
        """Numbers that must be handed out again."""
        return len(self._again)

    @property
    def next_again(self) -> int | None:
        """The number that is handed out again next; None where there is none."""
        return self._again[0] if self._again else None

    def put_back(self, numbers: Iterable[int]) -> None:
        """Hand these out again, the lowest first; one that waits already is not doubled."""
        waiting = set(self._again)
        for number in numbers:
            if number not in waiting:
                waiting.add(number)
                heapq.heappush(self._again, number)

    def restart(self, next_episode: int, open_ids: Iterable[int]) -> None:
        """Go on from another state of the books.

        Args:
            next_episode: the first number never handed out.
            open_ids: numbers below it that nobody has in hand or has finished.
        """
        self._again = sorted(set(open_ids))
        self.next_episode = next_episode

    def take(self, count: int) -> list[EpisodeTask]:
        """The next tasks; the last group is completed, so there may be a few more than `count`.

        >>> source = TaskSource(lambda number: EpisodeTask(number, 0), 6, group_size=3)
        >>> source.put_back([2])
        >>> [task.episode_id for task in source.take(2)]
        [2, 6, 7, 8]
        """
        numbers = [heapq.heappop(self._again) for _ in range(min(count, len(self._again)))]
        new = max(count - len(numbers), 0)
        whole = -(-new // self._group_size) * self._group_size
        numbers += range(self.next_episode, self.next_episode + whole)
        self.next_episode += whole
        return [self._make_task(number) for number in numbers]


def admission(*, batch: int, max_staleness: int, buffered: int, in_flight: int) -> int:
    """How many more episodes may be started, so that they are not too old when their turn comes.

    The learner makes a version of every `batch` episodes, in the order in which they come. An episode that starts now
    has at most `buffered + in_flight` before it, so it is learned from at most max_staleness versions after the present
    one if all of these and itself fit into max_staleness + 1 batches (Fu et al. 2025, arXiv 2505.24298, eq. 3, with the
    episodes already learned from taken off both sides). Only one that is overtaken by others, which started later and
    ended sooner, can be older; the buffer drops it then. What is buffered and in flight is known after a resume too,
    so there is no counter that could be wrong.

    Args:
        batch: episodes of one update.
        max_staleness: versions that acting may lie behind learning.
        buffered: episodes that wait for the learner, or are in its hands.
        in_flight: episodes handed out and not delivered.

    >>> admission(batch=64, max_staleness=1, buffered=20, in_flight=100)
    8
    """
    return max(0, (max_staleness + 1) * batch - buffered - in_flight)
