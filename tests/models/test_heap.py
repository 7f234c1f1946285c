"""Freed memory stays, seen in the pages that a process waits for."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
import torch
from olal.models.heap import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[2:]:  # glibc's defaults move with what is freed, and so does what comes of them
    assert ctypes.CDLL(None).mallopt(-1, 65536) and ctypes.CDLL(None).mallopt(-3, 65536)
print(keep_freed_memory() if sys.argv[1] == "keep" else None)
for _ in range(3):
    kept = [torch.ones(1 << 21) for _ in range(4)]  # 8 MiB each
    del kept
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    kept = [torch.ones(1 << 21) for _ in range(4)]
    del kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode: str, *setting: str, **extra: str) -> tuple[str, int]:
    """What `keep_freed_memory` said, and how many pages ten rounds of 32 MiB then waited for."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    program = [sys.executable, "-c", PROGRAM, mode, *setting]
    said, pages = subprocess.run(
        program, env={**clean, **extra}, capture_output=True, text=True, check=True
    ).stdout.split()
    return said, int(pages)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's")
def test_a_pass_does_not_wait_for_pages_again() -> None:
    said, pages = run("keep", "small")
    assert said == "True"
    assert pages < 1000
    assert run("leave", "small")[1] > 50_000


def test_who_has_set_it_by_the_environment_is_left_alone() -> None:
    said, pages = run("keep", MALLOC_TRIM_THRESHOLD_="65536", MALLOC_MMAP_THRESHOLD_="65536")
    assert said == "False"
    assert pages > 50_000
