"""Pinned: after any calls whatever the books balance and agree with a plain dictionary of what became of each episode;
and a buffer that is opened again over the same directory is the one that was left.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from olal.replay import EpisodeRecord, Fifo, ReplayBuffer, record_of

IDS = st.integers(0, 12)
PUTS = st.tuples(
    st.just("put"), st.lists(st.tuples(IDS, st.integers(0, 4), st.booleans()), max_size=5), st.integers(0, 1)
)
TAKES = st.tuples(st.just("take"), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
DROPS = st.tuples(st.just("drop"), st.lists(IDS, max_size=3), st.sampled_from(["gone", "hopeless"]))
REWINDS = st.tuples(st.just("rewind"), st.integers(0, 4), st.integers(4, 14))
CALLS = st.lists(st.one_of(PUTS, TAKES, DROPS, REWINDS), max_size=30)


def make_record(episode_id: int, version: int, is_failed: bool) -> EpisodeRecord:
    error = "broke" * is_failed
    line = (
        f'{{"episode_id": {episode_id}, "group": -1, "adapter_version": {version}, "adapter_digest": "", '
        f'"return": null, "error": "{error}", "turns": []}}'
    )
    return record_of(line.encode())


class Plain:
    """The same buffer as lists and dictionaries: slow, and short enough to be seen to be right."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.epoch = capacity, 0
        self.waiting: list[int] = []
        self.acted: dict[int, int] = {}
        self.fate: dict[int, tuple[str, Any]] = {}
        self.duplicates = self.refused = 0

    def settle(self, episode_id: int, *fate: Any) -> None:
        self.waiting = [i for i in self.waiting if i != episode_id]
        self.fate[episode_id] = fate

    def evict(self) -> None:
        for episode_id in self.waiting[: max(0, len(self.waiting) - self.capacity)]:
            self.settle(episode_id, "dropped", "evicted")

    def put(self, records: list[tuple[int, int, bool]], epoch: int) -> None:
        if epoch != self.epoch:
            self.refused += len(records)
            return
        for episode_id, version, is_failed in records:
            if episode_id in self.fate or episode_id in self.waiting:
                self.duplicates += 1
                continue
            self.acted[episode_id] = version
            self.waiting.append(episode_id)
            if is_failed:
                self.settle(episode_id, "dropped", "failed")
        self.evict()

    def take(self, count: int, version: int, max_staleness: int) -> list[int]:
        for episode_id in list(self.waiting):
            if version - self.acted[episode_id] > max_staleness:
                self.settle(episode_id, "dropped", "stale")
        taken = self.waiting[:count]
        for episode_id in taken:
            self.settle(episode_id, "trained", version + 1)
        return taken

    def drop(self, ids: list[int], reason: str) -> None:
        for episode_id in ids:
            if episode_id not in self.fate:
                if episode_id not in self.waiting:
                    self.acted[episode_id] = -1
                self.settle(episode_id, "dropped", reason)

    def rewind(self, version: int, next_episode: int) -> None:
        self.epoch += 1
        back = []
        for episode_id in sorted({*self.fate, *self.waiting}):
            fate, made = self.fate.get(episode_id, ("buffered", None))
            if fate == "trained" and made <= version:
                continue
            if episode_id >= next_episode or self.acted[episode_id] > version:
                self.fate.pop(episode_id, None)
                self.waiting = [i for i in self.waiting if i != episode_id]
            elif fate == "trained":
                del self.fate[episode_id]
                back.append(episode_id)
        self.waiting = back + self.waiting
        self.evict()


def agree(buffer: ReplayBuffer, plain: Plain) -> None:
    ledger = buffer.ledger
    fates = Counter(kind for kind, _ in plain.fate.values())
    reasons = Counter(reason for kind, reason in plain.fate.values() if kind == "dropped")
    open_ids = [i for i in range(15) if i not in plain.fate and i not in plain.waiting]
    assert ledger.is_balanced
    assert (ledger.trained, dict(ledger.dropped), ledger.buffered) == (fates["trained"], reasons, len(plain.waiting))
    assert (ledger.duplicates, ledger.refused, buffer.epoch) == (plain.duplicates, plain.refused, plain.epoch)
    assert [lent.record.episode_id for lent in buffer.lease(99, 0, 99)] == plain.waiting
    buffer.give_back()
    assert buffer.open_ids(15) == open_ids
    assert buffer.balance(15).is_balanced
    assert buffer.ledger.against(15) == buffer.balance(15)


def play(call: tuple[Any, ...], buffer: ReplayBuffer, plain: Plain) -> None:
    match call:
        case ("put", records, lag):
            epoch = max(0, plain.epoch - lag)
            buffer.put([make_record(*one) for one in records], epoch)
            plain.put(records, epoch)
        case ("take", count, version, max_staleness):
            leased = [lent.record.episode_id for lent in buffer.lease(count, version, max_staleness)]
            buffer.commit(leased, version + 1)
            assert leased == plain.take(count, version, max_staleness)
        case ("drop", ids, reason):
            buffer.drop(ids, reason)
            plain.drop(ids, reason)
        case ("rewind", version, next_episode):
            buffer.rewind(version, next_episode, plain.epoch + 1)
            plain.rewind(version, next_episode)


@given(CALLS, st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_books_balance_after_any_calls_and_survive_being_closed(calls: list, capacity: int) -> None:
    plain = Plain(capacity)
    with TemporaryDirectory() as directory:
        buffer = ReplayBuffer.open(Path(directory), capacity, 2**20, Fifo(), segment_episodes=3)
        for number, call in enumerate(calls):
            play(call, buffer, plain)
            agree(buffer, plain)
            if number % 4 == 3:
                buffer.close()
                buffer = ReplayBuffer.open(Path(directory), capacity, 2**20, Fifo(), segment_episodes=3)
                agree(buffer, plain)
        buffer.close()
