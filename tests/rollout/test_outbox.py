"""Deliveries that nobody waits for.

Pinned: one is under way at a time, in order; what was not acknowledged stays in the box and is sent again where the
buffer's process died; nothing is lost and the box never blocks.
"""

from __future__ import annotations

from collections import deque

import pytest

from olal.replay import EpisodeRecord
from olal.rollout import Outbox


class Buffer:
    """Answers when it is told to; `lost` deliveries are never answered."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.answers: deque[object] = deque()

    def send(self, records, proofs):
        self.sent.append([record.episode_id for record in records])
        return tuple(self.sent[-1])

    def answer(self, ticket):
        said = self.answers.popleft() if self.answers else None
        if isinstance(said, Exception):
            raise said
        return (said, ticket) if said else None


@pytest.fixture
def buffer() -> Buffer:
    return Buffer()


@pytest.fixture
def box(buffer) -> Outbox:
    return Outbox(buffer.send, buffer.answer)


def record(number: int) -> EpisodeRecord:
    return EpisodeRecord(number, -1, 0, "", 0.0, 1, "", b"{}")


def test_a_delivery_stays_in_the_box_until_it_is_acknowledged(box, buffer):
    box.add([record(1), record(2)], [])
    assert box.work() == []
    assert box.ids == (1, 2)
    buffer.answers.append("taken")
    assert box.work() == [("taken", (1, 2))]
    assert box.ids == ()


def test_one_delivery_is_under_way_at_a_time_in_order(box, buffer):
    box.add([record(1)], [])
    box.work()
    box.add([record(2)], [])
    box.add([], [])
    assert (box.work(), buffer.sent, box.ids) == ([], [[1]], (1, 2))
    buffer.answers += ["taken", "taken"]
    assert [ids for _, ids in box.work()] == [(1,), (2,)]


def test_what_a_dead_buffer_did_not_acknowledge_is_sent_again(box, buffer):
    box.add([record(1)], [])
    box.work()
    box.add([record(2)], [])
    buffer.answers.append(ConnectionError("gone"))
    assert (box.work(), box.ids) == ([], (1, 2))
    buffer.answers += ["taken", "taken"]
    assert [ids for _, ids in box.work()] == [(1,), (2,)]
    assert buffer.sent == [[1], [1], [2]]


def test_a_cleared_box_delivers_nothing(box, buffer):
    box.add([record(1)], [])
    box.work()
    box.add([record(2)], [])
    box.clear()
    buffer.answers.append("taken")
    assert (box.work(), box.ids, buffer.sent) == ([], (), [[1]])
