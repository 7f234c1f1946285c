"""ReplayBuffer: finished episodes between those who play and the one who learns.

    worker ──put──▶ buffered ──lease──▶ on loan ──commit──▶ trained
                       ▲                   │
                       └── give_back ──────┘          rewind: the learner went back to an older version

Nothing here blocks and nothing is lost: what was acknowledged is in the journal, and a buffer that is opened again over
the same directory goes on where the killed one was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from olal.replay.books import BUFFERED, EVICTED, OPEN, Books, Event
from olal.replay.journal import Journal
from olal.replay.ledger import Balance, Ledger
from olal.replay.record import EpisodeRecord, Leased, record_of
from olal.replay.sampler import Sampler

STALE = "stale"


@dataclass(frozen=True, slots=True)
class PutReceipt:
    """What became of a delivery.

    Attributes:
        accepted: episodes that were recorded, failed ones included.
        refused: ids that were not recorded at all: they are of another epoch, or the disk is full and so is the memory.
        duplicates: episodes that had been delivered before.
        credits: episodes that may still come before old ones are evicted; a put never blocks.
    """

    accepted: int
    refused: tuple[int, ...] = ()
    duplicates: int = 0
    credits: int = 0


class ReplayBuffer:
    """Bounded, idempotent by episode id, durable where it has a journal."""

    def __init__(
        self,
        capacity_episodes: int,
        capacity_bytes: int,
        sampler: Sampler,
        group_size: int = 1,
        journal: Journal | None = None,
        most_overtaken: int | None = None,
    ) -> None:
        """Start with what the journal holds; without one, empty.

        Args:
            capacity_episodes: most episodes kept; beyond it the oldest are dropped and counted.
            capacity_bytes: most bytes of episodes kept, in the same way.
            sampler: chooses what is leased.
            group_size: episodes of a group, which are handed out together or not at all; 1 for no groups.
            journal: makes every change durable before it is acknowledged.
            most_overtaken: episodes of lower numbers that may still be open where one is lent; None for any number.

        Raises:
            RunDirectoryInvalid: the journal is damaged or cannot be opened.
        """
        self._most_overtaken = most_overtaken
        self.capacity_episodes, self.capacity_bytes = capacity_episodes, capacity_bytes
        self._sampler, self._group_size, self._journal = sampler, group_size, journal
        self._books = Books(group_size)
        self._records: dict[int, EpisodeRecord] = {}
        self._num_bytes = 0
        self._leased: set[int] = set()
        if journal is not None:
            for event in journal.restore():
                self._books.apply(event)
            self._reload()
            self._settle(EVICTED, self._victims())

    @classmethod
    def open(
        cls,
        directory: Path,
        capacity_episodes: int,
        capacity_bytes: int,
        sampler: Sampler,
        *,
        group_size: int = 1,
        segment_episodes: int = 512,
        is_synced: bool = False,
        most_overtaken: int | None = None,
    ) -> Self:
        """The buffer of a run directory, as it was when it was last acknowledged.

        Raises:
            RunDirectoryInvalid: its journal is damaged or cannot be opened.
        """
        journal = Journal(directory, segment_episodes=segment_episodes, is_synced=is_synced)
        return cls(capacity_episodes, capacity_bytes, sampler, group_size, journal, most_overtaken)

    def __len__(self) -> int:
        return len(self._books.waiting)

    @property
    def num_bytes(self) -> int:
        """Bytes of the episodes that wait."""
        return self._num_bytes

    @property
    def epoch(self) -> int:
        """The present lineage; see `rewind`."""
        return self._books.epoch

    @property
    def ledger(self) -> Ledger:
        """The counts, as they are now."""
        return self._books.ledger()

    @property
    def next_unknown(self) -> int:
        """One more than the highest id that is buffered or settled."""
        return self._books.next_unknown

    @property
    def trouble(self) -> str:
        """One line while the disk takes no more, else empty."""
        return "" if self._journal is None else self._journal.trouble

    @property
    def credits(self) -> int:
        """Episodes that may still come before old ones are evicted."""
        return max(0, self.capacity_episodes - len(self))

    def balance(self, next_episode: int) -> Balance:
        """The books against all that was handed out; those in flight are counted, not inferred."""
        return self._books.balance(next_episode)

    def open_ids(self, next_episode: int) -> list[int]:
        """Ids below `next_episode` that are neither buffered nor settled, in order."""
        return self._books.open_ids(next_episode)

    # ------------------------------------------------------------------ those who play

    def put(self, records: Sequence[EpisodeRecord], epoch: int) -> PutReceipt:
        """Take in finished episodes. Never blocks, and is safe to repeat.

        Failed ones are settled as dropped at once.

        Args:
            records: the episodes.
            epoch: lineage under which they were handed out; another than the present one is refused.
        """
        is_full = self._journal is not None and self._journal.pending_bytes > self.capacity_bytes
        if epoch != self.epoch or is_full:
            if records:
                self._happen({"event": "refused", "count": len(records)})
            return PutReceipt(0, tuple(record.episode_id for record in records), 0, self.credits)
        fresh: dict[int, EpisodeRecord] = {}
        for record in records:
            if self._books.state(record.episode_id) == OPEN:
                fresh.setdefault(record.episode_id, record)
        duplicates = len(records) - len(fresh)
        if records:
            event = {
                "event": "put",
                "ids": list(fresh),
                "groups": [record.group for record in fresh.values()],
                "versions": [record.adapter_version for record in fresh.values()],
                "failed": [record.episode_id for record in fresh.values() if record.error],
                "duplicates": duplicates,
            }
            self._keep(record for record in fresh.values() if not record.error)
            self._books.apply(event)
            event["evicted"] = self._victims()
            self._books.apply({"event": "dropped", "reason": EVICTED, "ids": event["evicted"]})
            self._write(event, [record.payload for record in fresh.values()])
            self._let_go(event["evicted"])
        return PutReceipt(len(fresh), (), duplicates, self.credits)

    def drop(self, ids: Iterable[int], reason: str, groups: Sequence[int] | None = None) -> None:
        """Give episodes up, delivered or not. Settled ones stay what they are.

        Args:
            ids: the episodes.
            reason: to count them under.
            groups: their groups, in the order of the ids; needed where there are groups, for the others of each to be
                complete without them.
        """
        ids = list(ids)
        group_of = {} if groups is None else dict(zip(ids, groups, strict=True))
        given_up = [i for i in dict.fromkeys(ids) if self._books.state(i) in (OPEN, BUFFERED)]
        if given_up:
            event = {"event": "dropped", "reason": reason, "ids": given_up}
            if group_of:
                event["groups"] = [group_of[episode_id] for episode_id in given_up]
            self._happen(event)

    # ------------------------------------------------------------------ the one who learns

    def lease(self, count: int, version: int, max_staleness: int, ids: Iterable[int] | None = None) -> list[Leased]:
        """Lend episodes to the learner. They stay buffered until `commit`; what was on loan before is given back.

        Too old ones are dropped first.

        Args:
            count: most episodes.
            version: of the adapter that is going to learn.
            max_staleness: most versions that acting may lie behind it.
            ids: lend these, all that are here, in the order of their ids, whatever `count` and the sampler say.
        """
        self.give_back()
        stale = [i for i in self._books.waiting if version - self._records[i].adapter_version > max_staleness]
        self._settle(STALE, stale)
        if ids is not None:
            wanted = sorted({episode_id for episode_id in ids if episode_id in self._records})
            leased = [Leased(self._records[episode_id]) for episode_id in wanted]
        else:
            units = self._units()
            drawn = self._sampler.draw(units, count, version) if units else []
            leased = [Leased(record, draw.weight) for draw in drawn for record in units[draw.index]]
        self._leased = {lent.record.episode_id for lent in leased}
        return leased

    def ready(self, version: int | None = None, max_staleness: int = 0) -> int:
        """Episodes that could be lent now, beside those on loan: whole groups alone.

        Args:
            version: of the adapter that is going to learn; None counts old episodes too.
            max_staleness: most versions that acting may lie behind it.
        """
        oldest = None if version is None else version - max_staleness
        if self._group_size == 1 and oldest is None:
            return len(self._books.in_order(self._most_overtaken)) - len(self._leased)
        return sum(
            oldest is None or record.adapter_version >= oldest
            for unit in self._units()
            for record in unit
            if record.episode_id not in self._leased
        )

    def commit(self, ids: Iterable[int], version: int, dropped: Mapping[str, int] | None = None) -> int:
        """The learner made `version` from episodes: settle them. Safe to repeat.

        Args:
            ids: the episodes; those that are not buffered any more are left alone.
            version: that was made.
            dropped: of these, how many the learner's admission left out, by reason; the others count as trained.

        Returns:
            How many were settled now.
        """
        settled = [i for i in dict.fromkeys(ids) if self._books.state(i) == BUFFERED]
        if settled:
            room, left_out = len(settled), dict[str, int]()
            for reason, number in (dropped or {}).items():
                left_out[reason] = min(int(number), room)
                room -= left_out[reason]
            left_out = {reason: number for reason, number in left_out.items() if number}
            self._happen({"event": "trained", "version": version, "ids": settled, "dropped": left_out})
        return len(settled)

    def give_back(self) -> None:
        """What is on loan waits again: the learner is gone."""
        self._leased = set()

    def rewind(self, version: int, next_episode: int, epoch: int) -> None:
        """The learner went back to `version`; `epoch` becomes the present lineage. Safe to repeat.

        Every episode is one of these:

        - trained for `version` or an earlier one: it stands, for the adapter was made of it;
        - numbered `next_episode` or above: forgotten, it will be handed out again;
        - trained for a later version: buffered again if it was acted under `version` or an earlier one, else forgotten;
        - buffered or dropped: forgotten if it was acted under a later version; otherwise it stands, a drop with its
          reason. So does an episode that was given up before anybody delivered it.

        What is on loan is given back. An episode whose text cannot be read any more is forgotten.

        Args:
            version: present version of the learner.
            next_episode: number of the first episode that it does not know of.
            epoch: number of the new lineage; deliveries of any other are refused from now on.
        """
        self.give_back()
        event = {"event": "rewound", "version": version, "next_episode": next_episode, "epoch": epoch}
        self._happen(event | {"keeps_text": self._journal is not None})
        self._reload()
        self._settle(EVICTED, self._victims())

    # ------------------------------------------------------------------ files that are done with

    def sealable(self, version: int) -> list[Path]:
        """Closed segments that no rewind to `version` or a later one can need; `seal` may run on them elsewhere.

        Args:
            version: of the newest checkpoint.
        """
        if self._journal is None:
            return []
        return [
            self._journal.path_of(index)
            for index, ids in self._journal.closed_segments().items()
            if all(self._books.is_final(episode_id, version) for episode_id in ids)
        ]

    def close_segment(self) -> None:
        """End the present segment, as at the end of a run, so that it may be sealed too."""
        if self._journal is not None:
            self._journal.close_segment()

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        if self._journal is not None:
            self._journal.retry()
            self._journal.close()

    # ------------------------------------------------------------------ inside

    def _happen(self, event: Event) -> None:
        """Change the books, write it down, and let go of what does not wait any more."""
        self._books.apply(event)
        self._write(event)
        if event["event"] in ("dropped", "trained"):
            self._let_go(event["ids"])

    def _write(self, event: Event, payloads: Sequence[bytes] = ()) -> None:
        if self._journal is not None:
            self._journal.append(event, payloads)

    def _settle(self, reason: str, ids: list[int]) -> None:
        if ids:
            self._happen({"event": "dropped", "reason": reason, "ids": ids})

    def _keep(self, records: Iterable[EpisodeRecord]) -> None:
        for record in records:
            self._records[record.episode_id] = record
            self._num_bytes += len(record.payload)

    def _let_go(self, ids: Iterable[int]) -> None:
        for episode_id in ids:
            self._leased.discard(episode_id)
            record = self._records.pop(episode_id, None)
            if record is not None:
                self._num_bytes -= len(record.payload)

    def _reload(self) -> None:
        """Hold exactly the texts of those that wait; those that cannot be read are forgotten."""
        waiting = self._books.waiting
        self._let_go([i for i in self._records if i not in waiting])
        missing = [i for i in waiting if i not in self._records]
        lines = {} if self._journal is None else self._journal.load(missing)
        for episode_id, line in lines.items():
            with contextlib.suppress(KeyError, TypeError, ValueError):
                record = record_of(line)
                if record.episode_id == episode_id:
                    self._keep([record])
        lost = [i for i in missing if i not in self._records]
        if lost:
            self._happen({"event": "forgotten", "ids": lost})

    def _units(self) -> list[list[EpisodeRecord]]:
        """What can be handed out together, the oldest first."""
        waiting = self._books.in_order(self._most_overtaken)
        if self._group_size == 1:
            return [[self._records[episode_id]] for episode_id in waiting]
        units: dict[tuple[int, int], list[EpisodeRecord]] = {}
        for episode_id in waiting:
            record = self._records[episode_id]
            if record.group < 0:
                units[-1, episode_id] = [record]
            elif self._books.is_complete(record.group):
                units.setdefault((record.group, 0), []).append(record)
        return list(units.values())

    def _victims(self) -> list[int]:
        """The oldest that are not on loan, with the others of their group, without which the rest fits."""
        victims: dict[int, None] = {}
        room = self.capacity_bytes - self._num_bytes
        if len(self) <= self.capacity_episodes and room >= 0:
            return []
        for episode_id in self._books.waiting:
            if len(self) - len(victims) <= self.capacity_episodes and room >= 0:
                break
            if episode_id in self._leased or episode_id in victims:
                continue
            for member in self._companions(episode_id):
                victims[member] = None
                room += len(self._records[member].payload)
        return list(victims)

    def _companions(self, episode_id: int) -> list[int]:
        group = self._records[episode_id].group
        if self._group_size == 1 or group < 0:
            return [episode_id]
        return [i for i in self._books.waiting if self._records[i].group == group and i not in self._leased]
