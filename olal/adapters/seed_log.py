"""SeedLog: every update of a run as seeds and coefficients, in one small append-only file.

    offset  bytes
    0       8      "olalseed"
    8       8      hash of the rules (`SeedSpace.digest`) under which every delta was made
    16      ...    deltas one after the other, as `delta_bytes` lays them out: versions 1, 2, 3, ...

A delta is flushed to the disk before its adapter is published. A writer that was killed leaves a beginning of a delta:
readers leave it out and say so, the next writer cuts it off.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from olal.adapters.delta_bytes import HEAD_BYTES, decode_delta, delta_length, encode_delta
from olal.adapters.seed_space import SeedSpace
from olal.errors import AdapterMismatch, SeedLogCorrupt
from olal.types import AdapterDelta

_log = logging.getLogger(__name__)
_MAGIC = b"olalseed"
_FILE_HEAD_BYTES = len(_MAGIC) + 8


@dataclass(frozen=True, slots=True)
class SeedLogContent:
    """What a seed log holds.

    Attributes:
        space: hash of the rules; empty where even the file's beginning was cut.
        deltas: versions 1, 2, ... in order.
        ends: per delta the offset of the first byte after it.
        torn_bytes: bytes at the end that are no whole delta.
    """

    space: str
    deltas: tuple[AdapterDelta, ...]
    ends: tuple[int, ...]
    torn_bytes: int


def read_seed_log(path: Path) -> SeedLogContent:
    """Read a log up to its last whole delta.

    Raises:
        SeedLogCorrupt: it is no seed log, was altered, or its deltas do not follow upon each other.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if not data.startswith(_MAGIC[: len(data)]):
        raise SeedLogCorrupt(f"not a seed log: {path}")
    if len(data) < _FILE_HEAD_BYTES:
        return SeedLogContent("", (), (), len(data))
    space, at = data[len(_MAGIC) : _FILE_HEAD_BYTES].hex(), _FILE_HEAD_BYTES
    deltas: list[AdapterDelta] = []
    ends: list[int] = []
    while len(data) - at >= HEAD_BYTES:
        try:
            stop = at + delta_length(data[at : at + HEAD_BYTES])
            if stop > len(data):
                break
            delta = decode_delta(data[at:stop])
        except (ValueError, AdapterMismatch) as error:
            raise SeedLogCorrupt(f"the seed log is damaged after version {len(deltas)} ({error}): {path}") from error
        follows = not deltas or delta.parent_digest == deltas[-1].digest
        if delta.version != len(deltas) + 1 or delta.space != space or not follows:
            raise SeedLogCorrupt(f"the seed log does not go on from version {len(deltas)}: {path}")
        deltas.append(delta)
        ends.append(stop)
        at = stop
    if at < len(data):
        _log.warning("the seed log ends in %d bytes of an update that was never finished: %s", len(data) - at, path)
    return SeedLogContent(space, tuple(deltas), tuple(ends), len(data) - at)


class SeedLog:
    """Appends deltas to the log of one run."""

    def __init__(self, path: Path, space: SeedSpace) -> None:
        """Open the log, or begin one; what a killed writer left half done is cut off.

        Args:
            path: the file.
            space: the rules under which deltas are made.

        Raises:
            SeedLogCorrupt: a log is there that is damaged or was written under other rules.
        """
        self._path, self._space = path, space
        self._ends = [_FILE_HEAD_BYTES]
        content = read_seed_log(path) if path.exists() else SeedLogContent("", (), (), 0)
        if content.space and content.space != space.digest:
            raise SeedLogCorrupt(
                f"the seed log must have been written under this model and adapter ({space.digest}); "
                f"it was under others ({content.space}): {path}"
            )
        self._file = path.open("r+b" if path.exists() else "w+b")
        if not content.space:
            self._file.write(_MAGIC + bytes.fromhex(space.digest))
        self._ends += content.ends
        self._cut()

    @property
    def version(self) -> int:
        """Version that the last delta leads to; 0 where there is none."""
        return len(self._ends) - 1

    def append(self, delta: AdapterDelta) -> None:
        """Write one delta and wait until the disk has it.

        Raises:
            SeedLogCorrupt: it does not go on from the last one.
        """
        if delta.version != self.version + 1 or delta.space != self._space.digest:
            raise SeedLogCorrupt(f"the seed log goes on with version {self.version + 1}, not with {delta.version}")
        self._file.write(encode_delta(delta))
        self._sync()
        self._ends.append(self._file.tell())

    def rewind(self, version: int) -> None:
        """Forget what came after a version: a run that goes on from its checkpoint will make it again.

        Raises:
            SeedLogCorrupt: the log does not reach that far.
        """
        if version > self.version:
            raise SeedLogCorrupt(f"the seed log must reach version {version}; it ends at {self.version}: {self._path}")
        del self._ends[version + 1 :]
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
        self._file.truncate(self._ends[-1])
        self._file.seek(self._ends[-1])
        self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
