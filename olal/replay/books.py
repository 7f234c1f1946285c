"""Books: where every episode of the run is, as the sum of all that happened to it.

                  put                     trained
        open ───────────▶ buffered ─────────────────▶ trained
          │ ▲                │                           │
          │ │ rewound        │ dropped                   │ rewound: buffered again,
          ▼ │                ▼                           ▼          or open
        dropped ◀────────────┘

Everything that changes them is an event: a small record that the journal can write. The same events give the same
books, which is how a buffer that was killed comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from olal.replay.ledger import Balance, Ledger
from olal.replay.paged_table import PagedTable

Event = Mapping[str, Any]
"""One thing that happened: `event` says what, and the rest is plain JSON."""

FAILED, EVICTED = "failed", "evicted"
OPEN, BUFFERED, TRAINED, FIRST_REASON = 0, 1, 2, 3
NEVER_ACTED = -1
_ROW = np.dtype([("state", "u2"), ("acted", "i4"), ("trained", "i4"), ("group", "i8")])


class Books:
    """The state of every episode. 18 bytes each, however many there are.

    For example:

        books.apply({"event": "put", "ids": [0, 1], "groups": [-1, -1], "versions": [0, 0], "failed": [1]})
        books.apply({"event": "trained", "version": 1, "ids": [0], "dropped": {}})
        books.apply({"event": "rewound", "version": 0, "next_episode": 2, "epoch": 1})
    """

    def __init__(self, group_size: int = 1) -> None:
        """Start with nothing handed in.

        Args:
            group_size: episodes of a group; 1 where there are no groups.
        """
        self.epoch = 0
        self.waiting: dict[int, None] = {}
        """Ids of buffered episodes, oldest first."""
        self._group_size = group_size
        self._table = PagedTable(_ROW)
        self._reasons: list[str] = []
        self._counts: Counter[int] = Counter()
        self._left_out: dict[int, Counter[str]] = {}  # by version: what the learner's admission dropped of its batch
        self._incomplete: dict[int, int] = {}  # members that arrived, of groups of which some did not
        self._first_open = 0  # no id below is open
        self._duplicates = self._refused = 0

    # ------------------------------------------------------------------ what is

    def state(self, episode_id: int) -> int:
        """OPEN, BUFFERED, TRAINED, or a number from FIRST_REASON on where it was dropped."""
        return self._table.get(episode_id, "state")

    def is_complete(self, group: int) -> bool:
        """Whether every member of a group was handed in."""
        return group not in self._incomplete

    def is_final(self, episode_id: int, version: int) -> bool:
        """Whether no rewind to `version` or a later one can need the episode's text again."""
        row = self._table[episode_id]
        return row["state"] != BUFFERED and (row["state"] != TRAINED or row["trained"] <= version)

    def open_ids(self, next_episode: int) -> list[int]:
        """Ids below `next_episode` that are neither buffered nor settled; no id before the first is looked at twice."""
        found = self._table.zeros("state", min(self._first_open, next_episode), next_episode)
        self._first_open = found[0] if found else max(self._first_open, next_episode)
        return found

    def in_order(self, most_overtaken: int | None) -> Collection[int]:
        """Ids of buffered episodes, the oldest first; or, by number, those that overtake no more than so many.

        An episode overtakes what is open and has a lower number: it began later and ended before.
        """
        if most_overtaken is None:
            return self.waiting
        overtaken = self.open_ids(self.next_unknown)[most_overtaken:]
        return sorted(i for i in self.waiting if not overtaken or i < overtaken[0])

    @property
    def next_unknown(self) -> int:
        """One more than the highest id that is buffered or settled."""
        for ids, rows in self._table.backwards():
            known = ids[rows["state"] != OPEN]
            if len(known):
                return int(known[-1]) + 1
        return 0

    def ledger(self) -> Ledger:
        """The counts."""
        left_out = sum(self._left_out.values(), Counter[str]())
        dropped = left_out + Counter(
            {reason: self._counts[FIRST_REASON + code] for code, reason in enumerate(self._reasons)}
        )
        trained = self._counts[TRAINED] - left_out.total()
        handed_in = self._counts.total()
        return Ledger(handed_in, trained, dict(dropped), self._counts[BUFFERED], self._duplicates, self._refused)

    def balance(self, next_episode: int) -> Balance:
        """The books against what was handed out; episodes in flight are counted, not inferred."""
        ledger = self.ledger()
        in_flight = len(self.open_ids(next_episode))
        return Balance(next_episode, ledger.trained, sum(ledger.dropped.values()), ledger.buffered, in_flight)

    # ------------------------------------------------------------------ what happens

    def apply(self, event: Event) -> None:
        """Let something happen.

        Raises:
            ValueError: no event has that name.
        """
        match event["event"]:
            case "put":
                self._put(event["ids"], event["groups"], event["versions"], set(event["failed"]))
                self._duplicates += event["duplicates"]
                self._drop(event.get("evicted", ()), EVICTED, None)
            case "refused":
                self._refused += event["count"]
            case "dropped":
                self._drop(event["ids"], event["reason"], event.get("groups"))
            case "trained":
                self._train(event["ids"], event["version"], event["dropped"])
            case "forgotten":
                self._forget(event["ids"])
            case "rewound":
                self._rewind(event["version"], event["next_episode"], keeps_text=event["keeps_text"])
                self.epoch = event["epoch"]
            case unknown:
                raise ValueError(f"an event is put, refused, dropped, trained, forgotten or rewound: {unknown}")

    def _put(self, ids: Sequence[int], groups: Sequence[int], versions: Sequence[int], failed: set[int]) -> None:
        for episode_id, group, version in zip(ids, groups, versions, strict=True):
            self._table[episode_id] = (OPEN, version, 0, group)
            self._arrived(group)
            self._move(episode_id, self._code(FAILED) if episode_id in failed else BUFFERED)

    def _drop(self, ids: Sequence[int], reason: str, groups: Sequence[int] | None) -> None:
        for place, episode_id in enumerate(ids):
            if self.state(episode_id) == OPEN:
                group = -1 if groups is None else groups[place]
                self._table[episode_id] = (OPEN, NEVER_ACTED, 0, group)
                self._arrived(group)
            self._move(episode_id, self._code(reason))

    def _train(self, ids: Sequence[int], version: int, dropped: Mapping[str, int]) -> None:
        for episode_id in ids:
            self._move(episode_id, TRAINED)
            self._table.set(episode_id, "trained", version)
        if dropped:
            self._left_out.setdefault(version, Counter()).update(dropped)

    def _forget(self, ids: Sequence[int]) -> None:
        for episode_id in ids:
            self._move(episode_id, OPEN)
        self._recount()

    def _rewind(self, version: int, next_episode: int, *, keeps_text: bool) -> None:
        """What the present adapter was made of stands; see `ReplayBuffer.rewind` for the rules."""
        back: list[int] = []
        for ids, rows in self._table.pages():
            is_undone = (rows["state"] == TRAINED) & (rows["trained"] > version)
            stands = (rows["state"] == TRAINED) & ~is_undone
            forget = ~stands & ((ids >= next_episode) | (rows["acted"] > version))
            if not keeps_text:
                forget |= is_undone
            returns = is_undone & ~forget
            rows["state"][returns] = BUFFERED
            rows["state"][forget] = OPEN
            back += ids[returns].tolist()
        self._left_out = {made: counts for made, counts in self._left_out.items() if made <= version}
        still = [episode_id for episode_id in self.waiting if self.state(episode_id) == BUFFERED]
        self.waiting = dict.fromkeys([*back, *still])
        self._recount()

    def _move(self, episode_id: int, state: int) -> None:
        before = self.state(episode_id)
        if before != OPEN:
            self._counts[before] -= 1
        if state != OPEN:
            self._counts[state] += 1
        self._table.set(episode_id, "state", state)
        if state == BUFFERED:
            self.waiting[episode_id] = None
        else:
            self.waiting.pop(episode_id, None)

    def _code(self, reason: str) -> int:
        if reason not in self._reasons:
            self._reasons.append(reason)
        return FIRST_REASON + self._reasons.index(reason)

    def _arrived(self, group: int) -> None:
        if self._group_size == 1 or group < 0:
            return
        arrived = self._incomplete.pop(group, 0) + 1
        if arrived < self._group_size:
            self._incomplete[group] = arrived

    def _recount(self) -> None:
        """Count states and members of groups anew, from the table."""
        self._first_open = 0
        states: Counter[int] = Counter()
        members: Counter[int] = Counter()
        for _, rows in self._table.pages():
            known = rows[rows["state"] != OPEN]
            states.update(dict(zip(*_unique(known["state"]), strict=True)))
            if self._group_size > 1:
                members.update(dict(zip(*_unique(known["group"][known["group"] >= 0]), strict=True)))
        self._counts = states
        self._incomplete = {group: count for group, count in members.items() if count < self._group_size}


def _unique(values: Any) -> tuple[list[int], list[int]]:
    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()
