"""AppendFile: bytes at the end of a file, where a write that fails half-way leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Wait until the disk has the names of the files in a directory.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class AppendFile:
    """A file that grows in two steps: `write` puts bytes behind its end, `keep` makes them part of it."""

    def __init__(self, path: Path, end: int) -> None:
        """Open a file, or make it, and cut it at `end`.

        Raises:
            OSError: it cannot be opened or written.
        """
        self.end = end
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._file, end)

    def write(self, data: bytes, *, is_synced: bool = False) -> None:
        """Write behind the end.

        Raises:
            OSError: the disk did not take all of it; the next write goes over what it took.
        """
        view, at = memoryview(data), self.end
        while view:
            done = os.pwrite(self._file, view, at)
            view, at = view[done:], at + done
        if is_synced:
            os.fsync(self._file)

    def keep(self, num_bytes: int) -> None:
        """Move the end behind what was written."""
        self.end += num_bytes

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
