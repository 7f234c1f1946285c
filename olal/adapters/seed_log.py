"""SeedLog: every update of a run as seeds and coefficients, in one small append-only file.

    offset  bytes
    0       8      "olalseed"
    8       8      hash of the adapter that all is about (`SeedSpace.origin`)
    16      ...    entries one after the other: deltas as `delta_bytes` lays them out, snapshots as `snapshot_bytes`

    [delta 1, delta 2,   snapshot 5, delta 6, delta 7, ...]
     from the untrained  versions 3 to 5 were made by a stage that learns by gradient: they are not in the log,
     adapter             but what they led to is where the next seeds start

An entry is flushed to the disk before its adapter is published. A writer that was killed leaves a beginning of one:
readers leave it out and say so, the next writer cuts it off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from olal.adapters.delta_bytes import HEAD_BYTES, decode_delta, delta_length, encode_delta
from olal.adapters.seed_space import SeedSpace
from olal.adapters.snapshot_bytes import SNAPSHOT_MAGIC, decode_snapshot, encode_snapshot, snapshot_length
from olal.adapters.subspace import SUBSPACE_KINDS
from olal.errors import AdapterMismatch, SeedLogCorrupt, SeedLogNotWritten
from olal.types import AdapterDelta, AdapterUpdate

_log = logging.getLogger(__name__)
_MAGIC = b"olalseed"
_FILE_HEAD_BYTES = len(_MAGIC) + 8


@dataclass(frozen=True, slots=True)
class SeedLogContent:
    """What a seed log holds.

    Attributes:
        origin: hash of the adapter that it is about; empty where even the file's beginning was cut.
        entries: snapshots and deltas in order.
        ends: per entry the offset of the first byte after it.
        torn_bytes: bytes at the end that are no whole entry.
    """

    origin: str
    entries: tuple[AdapterDelta | AdapterUpdate, ...]
    ends: tuple[int, ...]
    torn_bytes: int

    @property
    def deltas(self) -> tuple[AdapterDelta, ...]:
        """The deltas alone."""
        return tuple(entry for entry in self.entries if isinstance(entry, AdapterDelta))

    @property
    def version(self) -> int:
        """The last version that the log reaches; 0 where there is none."""
        return self.entries[-1].version if self.entries else 0

    def way_to(self, version: int) -> tuple[AdapterDelta | AdapterUpdate, ...] | None:
        """Entries that lead to a version, from the untrained adapter or a snapshot; None where it is not in the log."""
        if version == 0:
            return ()
        last = next((i for i, entry in enumerate(self.entries) if entry.version == version), None)
        if last is None:
            return None
        first = max((i for i in range(last + 1) if isinstance(self.entries[i], AdapterUpdate)), default=0)
        return self.entries[first : last + 1]


def read_seed_log(path: Path) -> SeedLogContent:
    """Read a log up to its last whole entry.

    Raises:
        SeedLogCorrupt: it is no seed log, was altered, or its entries do not follow upon each other.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if not data.startswith(_MAGIC[: len(data)]):
        raise SeedLogCorrupt(f"not a seed log: {path}")
    if len(data) < _FILE_HEAD_BYTES:
        return SeedLogContent("", (), (), len(data))
    origin, at = data[len(_MAGIC) : _FILE_HEAD_BYTES].hex(), _FILE_HEAD_BYTES
    entries: list[AdapterDelta | AdapterUpdate] = []
    ends: list[int] = []
    while len(data) - at >= HEAD_BYTES:
        version = entries[-1].version if entries else 0
        is_snapshot = data.startswith(SNAPSHOT_MAGIC, at)
        try:
            head = data[at : at + HEAD_BYTES]
            stop = at + (snapshot_length(head) if is_snapshot else delta_length(head))
            if stop > len(data):
                break
            entry = decode_snapshot(data[at:stop]) if is_snapshot else decode_delta(data[at:stop])
        except (ValueError, AdapterMismatch) as error:
            raise SeedLogCorrupt(f"the seed log is damaged after version {version} ({error}): {path}") from error
        if not _follows(entry, entries):
            raise SeedLogCorrupt(f"the seed log does not go on from version {version}: {path}")
        entries.append(entry)
        ends.append(stop)
        at = stop
    if at < len(data):
        _log.warning("the seed log ends in %d bytes of an update that was never finished: %s", len(data) - at, path)
    return SeedLogContent(origin, tuple(entries), tuple(ends), len(data) - at)


def _follows(entry: AdapterDelta | AdapterUpdate, entries: Sequence[AdapterDelta | AdapterUpdate]) -> bool:
    """A delta goes on from the last entry; a snapshot comes after it, of a version that is not there yet."""
    if isinstance(entry, AdapterUpdate):
        return entry.version > (entries[-1].version if entries else 0)
    if not entries:
        return entry.version == 1
    return entry.version == entries[-1].version + 1 and entry.parent_digest == entries[-1].digest


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where an entry ends, and what it leads to."""

    version: int
    digest: str
    end: int


class SeedLog:
    """Appends the versions of one run to its log."""

    def __init__(self, path: Path, space: SeedSpace) -> None:
        """Open the log, or begin one; what a killed writer left half done is cut off.

        Args:
            path: the file.
            space: rules under which deltas are made, of whichever subspace.

        Raises:
            SeedLogCorrupt: a log is there that is damaged or is about another adapter.
        """
        self._path, self._space = path, space
        content = read_seed_log(path) if path.exists() else SeedLogContent("", (), (), 0)
        if content.origin and content.origin != space.origin:
            raise SeedLogCorrupt(
                f"the seed log must have been written under this model and adapter ({space.origin}); "
                f"it was under others ({content.origin}): {path}"
            )
        self._file = path.open("r+b" if path.exists() else "w+b")
        if not content.origin:
            self._file.write(_MAGIC + bytes.fromhex(space.origin))
        self._marks = [_Mark(0, space.anchor_digest, _FILE_HEAD_BYTES)]
        self._marks += [
            _Mark(entry.version, entry.digest, end) for entry, end in zip(content.entries, content.ends, strict=True)
        ]
        self._start: AdapterUpdate | None = None
        self._cut()

    @property
    def version(self) -> int:
        """Version that the last entry leads to; 0 where there is none."""
        return self._marks[-1].version

    def append(self, delta: AdapterDelta | None, update: AdapterUpdate) -> None:
        """Take note of one version, and wait until the disk has it.

        Args:
            delta: the way there; None where it was not made from seeds, and so is not written.
            update: the adapter itself; if seeds start from it that do not go on from the log, it is written first.

        Raises:
            SeedLogCorrupt: the delta starts neither from the last entry nor from the adapter noted last.
            SeedLogNotWritten: the disk is full or gone; whoever opens the log again cuts off what it took of the entry.
        """
        if delta is None:
            self._start = update
            return
        known, start = self._marks[-1], self._start
        goes_on = (delta.version - 1, delta.parent_digest) == (known.version, known.digest)
        starts = start is not None and (delta.version - 1, delta.parent_digest) == (start.version, start.digest)
        if delta.space not in {self._space.within(kind).digest for kind in SUBSPACE_KINDS} or not (goes_on or starts):
            raise SeedLogCorrupt(f"the seed log goes on with version {self.version + 1}, not with {delta.version}")
        if start is not None and not goes_on:
            self._write(encode_snapshot(start), start)
        self._write(encode_delta(delta), delta)
        self._start = None

    def rewind(self, update: AdapterUpdate) -> None:
        """Forget what came after a version: a run that goes on from its checkpoint will make it again.

        Args:
            update: the adapter of the checkpoint, from which the next seeds may start.
        """
        if update.version > self.version:
            _log.info(
                "the seed log ends at version %d and goes on behind %d: %s", self.version, update.version, self._path
            )
        self._marks = [mark for mark in self._marks if mark.version <= update.version]
        self._start = update
        self._cut()

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _cut(self) -> None:
        self._file.truncate(self._marks[-1].end)
        self._file.seek(self._marks[-1].end)
        self._sync()

    def _write(self, data: bytes, entry: AdapterDelta | AdapterUpdate) -> None:
        try:
            self._file.write(data)
            self._sync()
        except OSError as error:
            raise SeedLogNotWritten(
                f"version {entry.version} cannot be published before its seeds are written ({error.strerror}); make "
                f"room and go on with `olal resume`: {self._path}"
            ) from error
        self._marks.append(_Mark(entry.version, entry.digest, self._file.tell()))

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
