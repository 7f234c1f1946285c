"""Pinned: first in, first out; bounded, idempotent by episode, never blocking; after any calls whatever the books
balance and agree with a plain list.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olal.replay import Ledger, PutReceipt, ReplayBuffer
from olal.types import EpisodeTask, Trajectory

Episode = Callable[..., Trajectory]


def ids(trajectories: list[Trajectory]) -> list[int]:
    return [trajectory.task.episode_id for trajectory in trajectories]


def test_episodes_come_out_in_the_order_they_came_in(episode: Episode) -> None:
    buffer = ReplayBuffer(10)

    buffer.put([episode(3), episode(1)])
    buffer.put([episode(2)])

    assert ids(buffer.take(2)) == [3, 1]
    assert ids(buffer.take(5)) == [2]
    assert buffer.take(5) == []


def test_a_receipt_tells_what_was_taken_in_and_how_much_more_fits(episode: Episode) -> None:
    buffer = ReplayBuffer(3)

    assert buffer.put([episode(0), episode(1, error="broke")]) == PutReceipt(accepted=1, credits=2)
    assert buffer.put([episode(2), episode(3), episode(4)]) == PutReceipt(accepted=3, credits=0)


def test_beyond_its_capacity_the_oldest_are_evicted_and_counted(episode: Episode) -> None:
    buffer = ReplayBuffer(2)

    buffer.put([episode(i) for i in range(5)])

    assert len(buffer) == 2
    assert buffer.ledger.dropped == {"evicted": 3}
    assert ids(buffer.take(5)) == [3, 4]


def test_an_episode_counts_once_however_often_it_is_delivered(episode: Episode) -> None:
    buffer = ReplayBuffer(10)

    for _ in range(3):
        buffer.put([episode(1), episode(1)])
        buffer.take(1)

    assert buffer.ledger.handed_in == buffer.ledger.trained == 1
    assert buffer.ledger.duplicates == 5


def test_failed_episodes_are_dropped_with_their_reason_even_when_they_come_again_whole(episode: Episode) -> None:
    buffer = ReplayBuffer(10)

    buffer.put([episode(1, error="ValueError: broke"), episode(2)])
    buffer.put([episode(1)])

    assert ids(buffer.take(5)) == [2]
    assert buffer.ledger.dropped == {"failed": 1}
    assert buffer.ledger.duplicates == 1


def test_stale_episodes_are_dropped_and_the_fresh_ones_behind_them_found(episode: Episode) -> None:
    buffer = ReplayBuffer(10)
    buffer.put([episode(i, adapter_version=version) for i, version in enumerate([1, 5, 2, 6, 4])])

    assert ids(buffer.take(2, oldest_version=4)) == [1, 3]
    assert buffer.ledger.dropped == {"stale": 2}
    assert ids(buffer.take(2, oldest_version=4)) == [4]


def test_a_ledger_that_lost_an_episode_is_not_balanced() -> None:
    ledger = Ledger(handed_in=4, trained=1, buffered=2)

    assert not ledger.is_balanced
    ledger.dropped["stale"] += 1
    assert ledger.is_balanced


PUTS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 3), st.booleans()), max_size=6)
CALLS = st.lists(st.one_of(PUTS, st.tuples(st.integers(0, 5), st.integers(0, 4))), max_size=25)


def plain_take(waiting: list[tuple[int, int]], count: int, oldest: int) -> tuple[list[int], int]:
    """What a plain list of (id, version) would hand out, and how many stale ones it would drop on the way."""
    taken, stale = [], 0
    while waiting and len(taken) < count:
        number, version = waiting.pop(0)
        if version < oldest:
            stale += 1
        else:
            taken.append(number)
    return taken, stale


@given(CALLS, st.integers(1, 6))
def test_the_books_balance_after_any_calls_and_agree_with_a_plain_list(calls: list, capacity: int) -> None:
    buffer, waiting = ReplayBuffer(capacity), []
    seen, dropped = set(), {"failed": 0, "evicted": 0, "stale": 0}

    for call in calls:
        if isinstance(call, tuple):
            expected, stale = plain_take(waiting, *call)
            dropped["stale"] += stale
            assert ids(buffer.take(call[0], oldest_version=call[1])) == expected
        else:
            for number, version, is_failed in call:
                if number not in seen:
                    seen.add(number)
                    dropped["failed"] += is_failed
                    waiting.extend([] if is_failed else [(number, version)])
                    dropped["evicted"] += len(waiting) > capacity
                    del waiting[:-capacity]
            buffer.put([episode_of(*one) for one in call])
        assert buffer.ledger.is_balanced
        assert buffer.ledger.buffered == len(buffer) == len(waiting)
    assert dict(buffer.ledger.dropped) == {reason: count for reason, count in dropped.items() if count}
    assert buffer.ledger.handed_in == len(seen)


def episode_of(number: int, version: int, is_failed: bool) -> Trajectory:
    return Trajectory(EpisodeTask(number, 0), (), True, False, None, version, "", error="broke" * is_failed)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_nothing_is_handed_out_of_an_empty_buffer(count: int) -> None:
    assert ReplayBuffer(5).take(count) == []
