"""Pinned: a disk that takes no more loses nothing that was acknowledged and stops nothing; it is told once, and what is
missing is written as soon as there is room. Beyond the memory for it, deliveries are refused, not forgotten.
"""

from __future__ import annotations

import json
import logging
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from olal.replay import EpisodeRecord, Fifo, ReplayBuffer

Record = Callable[..., EpisodeRecord]

UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from replay_worker import make_record
from olal.replay import Fifo, ReplayBuffer

buffer = ReplayBuffer.open(Path(sys.argv[1]), 100, 2**20, Fifo(), segment_episodes=8)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.RLIM_INFINITY))
for start in range(0, 40, 4):
    assert buffer.put([make_record(i, 0, "") for i in range(start, start + 4)], 0).accepted == 4
assert "File too large" in buffer.trouble, buffer.trouble
assert [lent.record.episode_id for lent in buffer.lease(3, 0, 9)] == [0, 1, 2]
buffer.commit([0, 1, 2], 1)
buffer.rewind(0, 10**9, 1)
assert len(buffer) == 40
buffer.commit([0, 1], 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
buffer.drop([77], "given_up")
assert not buffer.trouble
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
def test_files_that_may_not_grow_lose_nothing(tmp_path: Path) -> None:
    path = str(Path(__file__).parent)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r})\n{UNDER_A_LIMIT}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    buffer = ReplayBuffer.open(tmp_path, 100, 2**20, Fifo(), segment_episodes=8)

    assert [lent.record.episode_id for lent in buffer.lease(99, 0, 9)] == list(range(2, 40))
    assert (buffer.ledger.trained, buffer.ledger.dropped, buffer.epoch) == (2, {"given_up": 1}, 1)
    lines = [line for path in sorted((tmp_path / "episodes").iterdir()) for line in path.read_text().splitlines()]
    assert [json.loads(line)["episode_id"] for line in lines] == list(range(40))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_is_told_once_and_caught_up_with(
    record: Record, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_disk / "ballast").write_bytes(b"x" * 150_000)
    buffer = ReplayBuffer.open(small_disk, 100, 2**20, Fifo(), segment_episodes=8)
    with caplog.at_level(logging.WARNING):
        for i in range(60):
            assert buffer.put([record(i, size=3000)], 0).accepted == 1
        assert "No space left on device" in buffer.trouble
        assert len(caplog.records) == 1
    kept = len(ReplayBuffer.open(small_disk, 100, 2**20, Fifo(), segment_episodes=8))
    assert 20 < kept < 40

    (small_disk / "ballast").unlink()
    buffer.commit([59], 1)

    assert not buffer.trouble
    again = ReplayBuffer.open(small_disk, 100, 2**20, Fifo(), segment_episodes=8)
    assert again.lease(99, 0, 9) == buffer.lease(99, 0, 9)
    assert again.ledger == buffer.ledger
    buffer.close()


def test_beyond_the_memory_for_it_deliveries_are_refused(record: Record, small_disk: Path) -> None:
    buffer = ReplayBuffer.open(small_disk, 1000, 300_000, Fifo())
    accepted = [buffer.put([record(i, size=3000)], 0).accepted for i in range(400)]

    refused = accepted.index(0)
    assert not any(accepted[refused:])
    assert buffer.open_ids(400) == list(range(refused, 400))
    assert buffer.ledger.refused == 400 - refused
    assert buffer.balance(400).is_balanced
    buffer.close()
