"""Pinned: what every call of the buffer does, one behaviour each: first in first out, bounded in episodes and bytes,
idempotent by episode, never blocking; whole groups alone; loans, commits and rewinds. Without a journal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from olal.replay import EpisodeRecord, Fifo, Leased, Ledger, PutReceipt, ReplayBuffer

Record = Callable[..., EpisodeRecord]
ROOM = 2**20


def fifo(capacity: int = 100, capacity_bytes: int = ROOM, **options: Any) -> ReplayBuffer:
    return ReplayBuffer(capacity, capacity_bytes, Fifo(), **options)


def ids(leased: list[Leased]) -> list[int]:
    return [lent.record.episode_id for lent in leased]


def take(buffer: ReplayBuffer, count: int, version: int = 0, max_staleness: int = 100) -> list[int]:
    """Lease and commit at once."""
    taken = ids(buffer.lease(count, version, max_staleness))
    buffer.commit(taken, version + 1)
    return taken


def test_episodes_come_out_in_the_order_they_came_in(record: Record) -> None:
    buffer = fifo()

    buffer.put([record(3), record(1)], 0)
    buffer.put([record(2)], 0)

    assert take(buffer, 2) == [3, 1]
    assert take(buffer, 5) == [2]
    assert take(buffer, 5) == []


def test_a_receipt_tells_what_became_of_a_delivery(record: Record) -> None:
    buffer = fifo(3)

    assert buffer.put([record(0), record(1, error="broke")], 0) == PutReceipt(accepted=2, credits=2)
    assert buffer.put([record(0), record(2), record(2)], 0) == PutReceipt(accepted=1, duplicates=2, credits=1)
    assert buffer.put([record(3), record(4)], 0) == PutReceipt(accepted=2, credits=0)
    assert buffer.put([record(5), record(6)], 1) == PutReceipt(accepted=0, refused=(5, 6), credits=0)
    assert buffer.ledger == Ledger(5, 0, {"failed": 1, "evicted": 1}, 3, duplicates=2, refused=2)


@pytest.mark.parametrize("is_bytes", [False, True])
def test_beyond_its_capacity_the_oldest_are_evicted_and_counted(record: Record, is_bytes: bool) -> None:
    size = len(record(0, size=500).payload)
    buffer = fifo(100, 2 * size + 10) if is_bytes else fifo(2)

    buffer.put([record(i, size=500) for i in range(5)], 0)

    assert (len(buffer), buffer.num_bytes) == (2, 2 * size)
    assert buffer.ledger.dropped == {"evicted": 3}
    assert take(buffer, 5) == [3, 4]
    assert buffer.num_bytes == 0


def test_what_is_on_loan_is_not_evicted(record: Record) -> None:
    buffer = fifo(3)
    buffer.put([record(i) for i in range(3)], 0)

    assert ids(buffer.lease(2, 0, 100)) == [0, 1]
    buffer.put([record(3), record(4)], 0)

    assert buffer.commit([0, 1], 1) == 2
    assert take(buffer, 5) == [4]


def test_an_episode_counts_once_however_often_it_is_delivered(record: Record) -> None:
    buffer = fifo()

    for _ in range(3):
        buffer.put([record(1), record(1)], 0)
        take(buffer, 1)

    assert buffer.ledger.handed_in == buffer.ledger.trained == 1
    assert buffer.ledger.duplicates == 5


def test_failed_episodes_are_dropped_even_when_they_come_again_whole(record: Record) -> None:
    buffer = fifo()

    buffer.put([record(1, error="ValueError: broke"), record(2)], 0)
    buffer.put([record(1)], 0)

    assert take(buffer, 5) == [2]
    assert buffer.ledger.dropped == {"failed": 1}
    assert buffer.ledger.duplicates == 1


def test_stale_episodes_are_dropped_and_the_fresh_ones_behind_them_found(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(i, version) for i, version in enumerate([1, 5, 2, 6, 4])], 0)

    assert buffer.ready(6, 2) == 3
    assert ids(buffer.lease(2, 6, 2)) == [1, 3]
    assert buffer.ledger.dropped == {"stale": 2}
    assert (buffer.ready(), buffer.ready(6, 2), buffer.ready(7, 2)) == (1, 1, 0)


def test_a_second_loan_gives_back_the_first_and_so_does_the_learners_death(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(i) for i in range(4)], 0)

    assert ids(buffer.lease(2, 0, 9)) == ids(buffer.lease(2, 0, 9)) == [0, 1]
    assert (buffer.ready(), buffer.ledger.buffered) == (2, 4)
    buffer.give_back()
    assert buffer.ready() == 4


def test_named_episodes_are_lent_in_the_order_of_their_ids_as_far_as_they_exist(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(i, error="broke" if i == 2 else "") for i in (5, 3, 2, 4)], 0)

    assert ids(buffer.lease(1, 0, 9, ids=[5, 2, 99, 3])) == [3, 5]


def test_a_commit_settles_once_and_counts_what_the_learner_left_out(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(i) for i in range(5)], 0)

    assert buffer.commit([0, 1, 2], 1, {"bad_reward": 1}) == 3
    assert buffer.commit([0, 1, 2], 1, {"bad_reward": 1}) == 0
    assert buffer.commit([2, 3], 2, {"stale": 9}) == 1
    assert buffer.ledger == Ledger(5, 2, {"bad_reward": 1, "stale": 1}, 1)


def test_the_dispatcher_gives_up_what_is_open_or_waits_and_nothing_else(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(0), record(1)], 0)
    buffer.commit([0], 1)

    for _ in range(2):
        buffer.drop([0, 1, 2], "killed_workers")

    assert buffer.ledger == Ledger(3, 1, {"killed_workers": 2}, 0)
    assert buffer.put([record(2)], 0).duplicates == 1
    assert buffer.open_ids(5) == [3, 4]


def test_open_episodes_are_those_neither_here_nor_settled(record: Record) -> None:
    buffer = fifo(5000)
    buffer.put([record(i) for i in range(3000) if i not in (7, 1024, 2999)], 0)

    assert buffer.open_ids(3001) == [7, 1024, 2999, 3000]
    buffer.put([record(7)], 0)
    assert buffer.open_ids(3000) == [1024, 2999]
    assert buffer.open_ids(1000) == []
    buffer.rewind(0, 5, 1)
    assert buffer.open_ids(8) == [5, 6, 7]
    assert buffer.balance(3001).in_flight == 3001 - 5


GROUPED = [(0, 0), (1, 1), (2, 0), (3, 2), (4, 1), (5, 0)]


def test_groups_are_handed_out_whole_or_not_at_all(record: Record) -> None:
    buffer = fifo(group_size=3)
    buffer.put([record(i, group=group) for i, group in GROUPED], 0)
    assert buffer.ready() == 3

    buffer.put([record(6, group=1, error="broke"), record(7)], 0)

    assert (buffer.ready(), ids(buffer.lease(5, 0, 9)), ids(buffer.lease(4, 0, 9))) == (6, [0, 2, 5, 1, 4], [0, 2, 5])
    assert ids(buffer.lease(9, 0, 9)) == [0, 2, 5, 1, 4, 7]
    buffer.drop([8, 9], "killed_workers", groups=[2, 2])
    assert ids(buffer.lease(9, 0, 9)) == [0, 2, 5, 1, 4, 3, 7]


def test_a_group_is_evicted_whole(record: Record) -> None:
    buffer = fifo(5, group_size=2)
    buffer.put([record(i, group=i % 3) for i in range(6)], 0)

    assert ids(buffer.lease(9, 0, 9)) == [1, 4, 2, 5]


def test_after_a_rewind_a_group_waits_for_its_forgotten_member(record: Record) -> None:
    buffer = fifo(group_size=2)
    buffer.put([record(0, 1, group=0), record(1, 2, group=0), record(2, 0, group=1), record(3, 0, group=1)], 0)

    buffer.rewind(1, 10**9, 1)
    assert ids(buffer.lease(9, 1, 9)) == [2, 3]
    buffer.put([record(1, 1, group=0)], 1)
    assert ids(buffer.lease(9, 1, 9)) == [0, 1, 2, 3]


def test_without_a_journal_a_rewind_forgets_what_was_trained_too_late(record: Record) -> None:
    buffer = fifo()
    buffer.put([record(i) for i in range(4)], 0)
    buffer.commit([0], 1)
    buffer.commit([1, 2], 2, {"malformed": 1})

    buffer.rewind(1, 10**9, 1)

    assert (buffer.epoch, buffer.open_ids(4)) == (1, [1, 2])
    assert buffer.ledger == Ledger(2, 1, {}, 1)


@pytest.mark.parametrize("count", [0, 1, 100])
def test_nothing_is_handed_out_of_an_empty_buffer(count: int) -> None:
    assert fifo().lease(count, 0, 0) == []


def test_books_that_lost_an_episode_do_not_balance() -> None:
    assert not Ledger(handed_in=4, trained=1, buffered=2).is_balanced
    assert Ledger(handed_in=4, trained=1, buffered=2, dropped={"stale": 1}).is_balanced
    assert not Ledger(handed_in=4, trained=4).against(3).is_balanced


def test_an_episode_waits_for_those_that_began_before_it_but_for_a_few(record: Record) -> None:
    buffer = fifo(most_overtaken=2)

    buffer.put([record(5), record(1), record(3)], 0)  # 0, 2 and 4 are still played

    assert buffer.ready() == 2
    assert take(buffer, 9) == [1, 3]
    buffer.put([record(0)], 0)
    assert buffer.ready() == 2
    assert take(buffer, 9) == [0, 5]


def test_an_episode_that_failed_or_was_given_up_is_not_waited_for(record: Record) -> None:
    buffer = fifo(most_overtaken=0)

    buffer.put([record(0, error="broke"), record(2)], 0)
    assert buffer.ready() == 0
    buffer.drop([1], "killed_workers")

    assert take(buffer, 9) == [2]


def test_groups_wait_for_those_that_began_before_them_too(record: Record) -> None:
    buffer = fifo(group_size=2, most_overtaken=1)

    buffer.put([record(4, group=2), record(5, group=2), record(1, group=0)], 0)  # 0, 2 and 3 are still played
    assert take(buffer, 9) == []
    buffer.put([record(0, group=0), record(2, group=1)], 0)

    assert take(buffer, 9) == [0, 1, 4, 5]


def test_named_episodes_are_lent_whoever_is_still_played(record: Record) -> None:
    buffer = fifo(most_overtaken=0)

    buffer.put([record(7), record(3)], 0)

    assert ids(buffer.lease(1, 0, 100, [7, 3])) == [3, 7]
