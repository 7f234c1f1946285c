"""RunLock: at most one process drives a run directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from olal.errors import RunDirectoryInvalid


@contextlib.contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a run directory; the kernel lets go of it when the process dies, however it dies.

    Args:
        path: of the lock file, which tells who holds it.

    Raises:
        RunDirectoryInvalid: another process holds it.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise RunDirectoryInvalid(
                f"another process is running this run ({file.read().strip() or 'unknown'}); wait for it, stop it, or "
                f"choose another --run-dir: {path.parent}"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def is_running(path: Path) -> bool:
    """Whether a process holds the lock of a run directory."""
    if not path.exists():
        return False
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
