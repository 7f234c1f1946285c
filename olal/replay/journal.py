"""Journal: makes what happens to a buffer outlive its process.

    ledger.jsonl                     one line per event, in order: the truth
    episodes/segment-000000.jsonl    one line per episode; the ledger says from which byte to which

An episode's line is written before the ledger's line that tells of it, and both before anybody is told. So a kill at
any moment leaves at most the beginning of one line in each file; it was never acknowledged and is cut off.

A disk that takes no more does not stop the buffer: events wait in memory, in order, and are written as soon as it can
be done. `trouble` says so as long as it lasts.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from olal.errors import RunDirectoryInvalid
from olal.metrics import json_line
from olal.replay.append_file import AppendFile, sync_directory
from olal.replay.books import Event
from olal.replay.paged_table import PagedTable
from olal.replay.segment import read_rows, segment_path, segments_in

_log = logging.getLogger(__name__)
_PLACE = np.dtype([("segment", "i4"), ("offset", "i8"), ("size", "i4")])


class Journal:
    """The ledger file and the segments of one run directory.

    The loop that uses it:

        for event in journal.restore():      # once, before anything is appended
            books.apply(event)
        ...
        journal.append(event, payloads)      # after it happened in memory, before it is acknowledged
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_episodes: int = 512,
        segment_bytes: int = 64 * 2**20,
        is_synced: bool = False,
    ) -> None:
        """Name the files; `restore` opens them.

        Args:
            directory: of the run.
            segment_episodes: episodes after which a new segment is begun.
            segment_bytes: bytes after which a new segment is begun.
            is_synced: whether to wait for the disk too. Without, what was acknowledged outlives the process; with, also
                the machine.
        """
        self.trouble = ""
        self._episodes, self._ledger_path = directory / "episodes", directory / "ledger.jsonl"
        self._segment_episodes, self._segment_bytes = segment_episodes, segment_bytes
        self._is_synced = is_synced
        self._places = PagedTable(_PLACE)
        self._unsealed: dict[int, array[int]] = {}  # by segment: the ids of its lines
        self._index = 0
        self._pending: deque[tuple[Event, Sequence[bytes]]] = deque()
        self._ledger: AppendFile | None = None
        self._segment: AppendFile | None = None

    @property
    def pending_bytes(self) -> int:
        """Bytes of episodes that could not be written yet."""
        return sum(len(payload) for _, payloads in self._pending for payload in payloads)

    # ------------------------------------------------------------------ coming back

    def restore(self) -> Iterator[Event]:
        """Every event that was written, oldest first; then the journal is open for more.

        Raises:
            RunDirectoryInvalid: the ledger is damaged elsewhere than at its end, or cannot be opened.
        """
        try:
            self._episodes.mkdir(parents=True, exist_ok=True)
            on_disk = segments_in(self._episodes)
            ledger_end, last, last_end = 0, -1, 0
            for event, ledger_end in self._read_ledger():  # noqa: B007  the last one counts
                if event["event"] == "put" and event["ids"]:
                    last, last_end = event["segment"], self._place(event)
                yield event
            self._ledger = AppendFile(self._ledger_path, ledger_end)
            if self._is_synced:
                sync_directory(self._ledger_path.parent)
            self._unsealed = {
                index: ids for index, ids in self._unsealed.items() if on_disk.get(index, Path()).suffix == ".jsonl"
            }
            self._go_on(last, last_end, max([last, *on_disk]))
        except OSError as error:
            raise RunDirectoryInvalid(f"the ledger cannot be opened ({error}): {self._ledger_path}") from error

    def _go_on(self, last: int, end: int, newest: int) -> None:
        """Cut the last segment where the ledger ends and go on there; if some of it is missing, begin a new one."""
        path = segment_path(self._episodes, max(last, 0))
        if 0 <= last == newest and last in self._unsealed and path.stat().st_size >= end:
            self._index, self._segment = last, AppendFile(path, end)
            self._close_if_full()
        else:
            self._index = newest + 1

    def _read_ledger(self) -> Iterator[tuple[Event, int]]:
        """Events with the offset of the first byte after each."""
        if not self._ledger_path.exists():
            return
        end = number = 0
        with self._ledger_path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    event: Any = json.loads(line)
                except ValueError:
                    event = None
                if line.endswith(b"\n") and isinstance(event, dict):
                    end += len(line)
                    yield event, end
                elif file.read(1):
                    raise RunDirectoryInvalid(
                        f"the ledger is damaged; every line but the last must be a JSON object: "
                        f"{self._ledger_path}:{number}"
                    )

    # ------------------------------------------------------------------ going on

    def append(self, event: Event, payloads: Sequence[bytes] = ()) -> None:
        """Write an event; where the disk does not take it, keep it until it does. Never raises for a full disk.

        Args:
            event: what happened.
            payloads: of a put, the episodes' lines in the order of its ids.
        """
        self._pending.append((event, payloads))
        self.retry()

    def retry(self) -> None:
        """Write what could not be written so far."""
        try:
            while self._pending:
                self._write(*self._pending[0])
                self._pending.popleft()
        except OSError as error:
            count = sum(len(payloads) for _, payloads in self._pending)
            trouble = f"the run directory takes no more ({error.strerror}); {count} episodes are kept in memory alone"
            if not self.trouble:
                _log.error("%s: %s", trouble, self._episodes)
            self.trouble = f"{trouble}: {self._episodes}"
            return
        if self.trouble:
            _log.warning("the run directory takes episodes again, none is missing: %s", self._episodes)
        self.trouble = ""

    def _write(self, event: Event, payloads: Sequence[bytes]) -> None:
        """Both lines or none: an attempt that fails half-way is written over by the next."""
        assert self._ledger is not None, "restore the journal before appending to it"
        lines = b"".join(payload + b"\n" for payload in payloads)
        if payloads:
            segment = self._open_segment()
            event = {
                **event,
                "segment": self._index,
                "offset": segment.end,
                "sizes": [len(payload) for payload in payloads],
            }
            segment.write(lines, is_synced=self._is_synced)
        line = json_line(event).encode() + b"\n"
        self._ledger.write(line, is_synced=self._is_synced)
        self._ledger.keep(len(line))
        if payloads:
            self._open_segment().keep(len(lines))
            self._place(event)
            self._close_if_full()

    def _open_segment(self) -> AppendFile:
        if self._segment is None:
            self._segment = AppendFile(segment_path(self._episodes, self._index), 0)
            if self._is_synced:
                sync_directory(self._episodes)
        return self._segment

    def _close_if_full(self) -> None:
        lines = len(self._unsealed[self._index])
        if lines >= self._segment_episodes or self._open_segment().end >= self._segment_bytes:
            self.close_segment()

    def close_segment(self) -> None:
        """End the present segment, so that it may be sealed; the next episode begins a new one."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
            self._index += 1

    def _place(self, event: Event) -> int:
        """Remember where the lines of a put are; returns where they end."""
        index, offset = event["segment"], event["offset"]
        for episode_id, size in zip(event["ids"], event["sizes"], strict=True):
            self._places[episode_id] = (index, offset, size)
            offset += size + 1
        self._unsealed.setdefault(index, array("q")).extend(event["ids"])
        return offset

    # ------------------------------------------------------------------ looking back

    def load(self, ids: Sequence[int]) -> dict[int, bytes]:
        """The lines of episodes, from wherever they are; those that are nowhere are left out."""
        found: dict[int, bytes] = {}
        for event, payloads in self._pending:
            if payloads:
                found |= dict(zip(event["ids"], payloads, strict=True))
        found = {episode_id: found[episode_id] for episode_id in ids if episode_id in found}
        by_segment: dict[int, list[int]] = {}
        for episode_id in ids:
            if episode_id not in found and self._places.get(episode_id, "size"):
                by_segment.setdefault(self._places.get(episode_id, "segment"), []).append(episode_id)
        for index, wanted in by_segment.items():
            found |= self._load_segment(index, wanted)
        return found

    def _load_segment(self, index: int, ids: Sequence[int]) -> dict[int, bytes]:
        for is_sealed in (False, True):
            path = segment_path(self._episodes, index, is_sealed=is_sealed)
            try:
                return self._sealed_lines(path, set(ids)) if is_sealed else self._lines(path, ids)
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                _log.warning("episodes that cannot be read are forgotten (%s): %s", error, path)
                return {}
        return {}

    def _sealed_lines(self, path: Path, ids: set[int]) -> dict[int, bytes]:
        return {row["episode_id"]: json_line(row).encode() for row in read_rows(path) if row["episode_id"] in ids}

    def _lines(self, path: Path, ids: Sequence[int]) -> dict[int, bytes]:
        with path.open("rb") as file:
            return {episode_id: line for episode_id in ids if (line := self._line(file, episode_id))}

    def _line(self, file: Any, episode_id: int) -> bytes:
        row = self._places[episode_id]
        file.seek(int(row["offset"]))
        line = file.read(int(row["size"]) + 1)
        return line[:-1] if line.endswith(b"\n") and len(line) == row["size"] + 1 else b""

    def closed_segments(self) -> dict[int, list[int]]:
        """By index, for segments that are full and not sealed: the ids that no later segment holds again."""
        for index in [i for i in self._unsealed if not segment_path(self._episodes, i).exists()]:
            del self._unsealed[index]
        return {
            index: [episode_id for episode_id in ids if self._places.get(episode_id, "segment") == index]
            for index, ids in self._unsealed.items()
            if index < self._index
        }

    def path_of(self, index: int) -> Path:
        """File of a segment that is not sealed."""
        return segment_path(self._episodes, index)

    def close(self) -> None:
        """Close the files; closing twice does nothing."""
        for file in (self._ledger, self._segment):
            if file is not None:
                file.close()
