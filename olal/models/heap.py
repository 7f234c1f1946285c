"""The heap of this process, for models whose tensors come and go with every pass."""

from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's malloc.h
_KEPT_BYTES, _OWN_PAGES_BYTES = 1 << 28, 1 << 25
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let glibc keep up to 256 MiB of freed memory, and take pages of their own only for tensors of 32 MiB and more.

    As it comes, it gives back what a pass has freed, so that the next pass waits for every page again. Whoever has set
    such a thing by the environment is left alone.

    Returns:
        Whether it does so now; False where another C library is in place.
    """
    if any(os.environ.get(name) for name in _SET_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc; Windows has no process-wide library
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)) and bool(mallopt(_MMAP_THRESHOLD, _OWN_PAGES_BYTES))
