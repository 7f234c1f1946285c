"""Pinned: what was acknowledged survives a kill -9 at any moment and a cut at any byte; an episode stands in the state
of the last acknowledged call, or in that of the one call more that was under way.
"""

from __future__ import annotations

import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from olal.errors import RunDirectoryInvalid
from olal.replay import EpisodeRecord, Fifo, ReplayBuffer, segments_in
from olal.replay.segment import read_rows

WORKER = Path(__file__).parent / "replay_worker.py"
Record = Callable[..., EpisodeRecord]


def open_buffer(directory: Path) -> ReplayBuffer:
    return ReplayBuffer.open(directory, 40, 2**20, Fifo(), segment_episodes=8)


def facts(buffer: ReplayBuffer) -> tuple:
    """All that can be asked of a buffer."""
    waiting = [(lent.record.episode_id, lent.record.payload) for lent in buffer.lease(10**6, 0, 10**6)]
    buffer.give_back()
    return buffer.ledger, buffer.epoch, waiting, buffer.open_ids(600), buffer.num_bytes


def kill_somewhere(directory: Path, seed: int, delay_s: float) -> int:
    """Run the worker until it is killed; returns how many calls it acknowledged."""
    command = [sys.executable, str(WORKER), str(directory), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.kill()
        return len(process.stdout.read().splitlines())


def never_killed(directory: Path, seed: int, count: int) -> tuple:
    """The facts after so many calls of the worker's script."""
    buffer = open_buffer(directory)
    for _ in islice(runpy.run_path(str(WORKER))["calls"](buffer, seed), count):
        pass
    found = facts(buffer)
    buffer.close()
    return found


@pytest.mark.parametrize("seed", range(12))
def test_a_buffer_killed_at_any_moment_comes_back_as_it_was_acknowledged(seed: int, tmp_path: Path) -> None:
    done = kill_somewhere(tmp_path / "run", seed, random.Random(seed).uniform(0, 0.15))
    come_back = open_buffer(tmp_path / "run")

    assert facts(come_back) in [never_killed(tmp_path / f"oracle-{count}", seed, count) for count in (done, done + 1)]
    assert come_back.ledger.is_balanced
    come_back.close()


def test_a_ledger_cut_at_any_byte_of_its_last_lines_is_read_as_far_as_it_is_whole(
    record: Record, tmp_path: Path
) -> None:
    buffer = open_buffer(tmp_path / "whole")
    states = [facts(buffer)]
    buffer.put([record(0), record(1)], 0)
    states.append(facts(buffer))
    buffer.commit([0], 1)
    states.append(facts(buffer))
    buffer.close()
    ledger = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    ends = [0, ledger.index(b"\n") + 1, len(ledger)]

    for cut in range(len(ledger) + 1):
        directory = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", directory)
        (directory / "ledger.jsonl").write_bytes(ledger[:cut])
        mended = open_buffer(directory)
        assert facts(mended) == states[max(n for n, end in enumerate(ends) if end <= cut)], cut
        mended.drop([7], "x")
        assert facts(open_buffer(directory)) == facts(mended)
        assert list(map(json.loads, (directory / "ledger.jsonl").read_text().splitlines()))[-1]["ids"] == [7]


def test_of_a_segment_cut_at_any_byte_the_whole_lines_are_kept(record: Record, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path / "whole")
    buffer.put([record(i) for i in range(3)], 0)
    buffer.close()
    segment = (tmp_path / "whole" / "episodes" / "segment-000000.jsonl").read_bytes()

    for cut in range(len(segment) + 1):
        directory = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", directory)
        (directory / "episodes" / "segment-000000.jsonl").write_bytes(segment[:cut])
        kept = segment[:cut].count(b"\n")
        mended = open_buffer(directory)
        assert mended.open_ids(3) == list(range(kept, 3)), cut
        mended.put([record(i) for i in range(3)], 0)
        again = open_buffer(directory)
        assert again.ledger.buffered == 3
        assert facts(again) == facts(mended)
        rows = [row for part in segments_in(directory / "episodes").values() for row in read_rows(part)]
        assert [row["episode_id"] for row in rows][len(rows) - 3 + kept :] == list(range(kept, 3))


def test_a_ledger_damaged_in_the_middle_is_refused_in_one_line(record: Record, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    for i in range(3):
        buffer.put([record(i)], 0)
    buffer.close()
    path = tmp_path / "ledger.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-5], lines[2]]) + "\n")

    with pytest.raises(RunDirectoryInvalid, match=r"ledger.jsonl:2$"):
        open_buffer(tmp_path)


def test_what_was_on_loan_when_others_were_evicted_is_still_there_after_a_kill(record: Record, tmp_path: Path) -> None:
    buffer = ReplayBuffer.open(tmp_path, 3, 2**20, Fifo())
    buffer.put([record(i) for i in range(3)], 0)
    buffer.lease(2, 0, 0)
    buffer.put([record(3), record(4)], 0)

    again = ReplayBuffer.open(tmp_path, 3, 2**20, Fifo())

    assert [lent.record.episode_id for lent in again.lease(9, 0, 0)] == [0, 1, 4]
    assert again.ledger == buffer.ledger
    assert len(ReplayBuffer.open(tmp_path, 2, 2**20, Fifo())) == 2


def test_episodes_that_a_rewind_brings_back_stand_before_those_that_wait(record: Record, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([record(i) for i in (3, 1, 2, 0)], 0)
    buffer.commit([3, 2], 1)

    buffer.rewind(0, 10**9, 1)

    for one in (buffer, open_buffer(tmp_path)):
        assert [lent.record.episode_id for lent in one.lease(9, 0, 0)] == [2, 3, 1, 0]


def test_with_is_synced_both_files_are_on_the_disk_before_a_put_is_answered(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    buffer = ReplayBuffer.open(tmp_path, 40, 2**20, Fifo(), is_synced=True)
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.fstat(handle).st_ino))

    buffer.put([record(0)], 0)

    names = ["episodes", "episodes/segment-000000.jsonl", "ledger.jsonl"]
    assert synced == [(tmp_path / name).stat().st_ino for name in names]
    buffer.close()


def test_the_ledger_and_the_segments_are_plain_lines(record: Record, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([record(0), record(1)], 0)
    buffer.commit([1], 1)
    buffer.rewind(0, 9, 1)
    buffer.close()

    events = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    lines = (tmp_path / "episodes" / "segment-000000.jsonl").read_text().splitlines()
    assert [event["event"] for event in events] == ["put", "trained", "rewound"]
    assert events[1] == {"event": "trained", "version": 1, "ids": [1], "dropped": {}}
    assert [json.loads(line)["episode_id"] for line in lines] == [0, 1]
