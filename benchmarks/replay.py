"""Replay: how many episodes a second one buffer with its journal takes, what coming back costs, what sealing saves.

    python benchmarks/replay.py [--episodes 8192] [--json PATH]

Episodes are 32 kB of JSON each, delivered 16 at a time, and learned from 64 at a time. The baseline writes the same
bytes to a file and does nothing else. The books are then kept for a million episodes.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from _report import Measurement, arguments, measure, report

from olal.replay import Books, EpisodeRecord, Fifo, Prioritised, ReplayBuffer, pack
from olal.replay.sealed import seal
from olal.types import Completion, EpisodeTask, GrammarSpec, Trajectory, Turn

PUT, BATCH, CAPACITY = 16, 64, 4096
EPISODE_BYTES = 32_000
MILLION = 1_000_000
SHAPES = 512


@dataclass(frozen=True, slots=True)
class PutRate:
    """How fast a buffer took episodes.

    Attributes:
        episodes_per_s: delivered, learned from, written.
        put_p50_ms: median time of one put.
        put_p99_ms: time that one put in a hundred exceeds.
    """

    episodes_per_s: float
    put_p50_ms: float
    put_p99_ms: float


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=8192, help="episodes delivered; default 8192")
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        report(measure_all(Path(directory), options.episodes), options.json)


def measure_all(directory: Path, episodes: int) -> list[Measurement]:
    """All measurements, in a directory of their own."""
    records = make_records(episodes)
    raw = raw_rate(directory / "raw", records)
    kept = put_rate(directory / "kept", records)
    synced = put_rate(directory / "synced", records[: episodes // 8], is_synced=True)
    return [
        measure("put_episodes_per_s", kept.episodes_per_s, "1/s", ">= 1000", baseline=raw),
        measure("put_p50_ms", kept.put_p50_ms, "ms"),
        measure("put_p99_ms", kept.put_p99_ms, "ms"),
        measure("put_synced_episodes_per_s", synced.episodes_per_s, "1/s"),
        *restoring(directory / "restored", records[:CAPACITY]),
        *sealing(directory / "sealed", records[:SHAPES]),
        *drawing(records[:CAPACITY]),
        *counting(),
    ]


def make_records(count: int, *, num_bytes: int = EPISODE_BYTES) -> list[EpisodeRecord]:
    """Packed episodes of about `num_bytes` each; tokens and log-probabilities are random, and none of 512 is alike."""
    random = np.random.default_rng(0)
    shapes = [make_episode(random, num_bytes) for _ in range(SHAPES)]
    return [pack(replace(shapes[i % SHAPES], task=EpisodeTask(i, i))) for i in range(count)]


def make_episode(random: np.random.Generator, num_bytes: int) -> Trajectory:
    """Turns of a prompt of 200 tokens and an answer of 40."""
    grammar = GrammarSpec('{"grammars":[{"json_schema":{"type":"object"}}]}')
    turns = []
    for _ in range(max(1, round(num_bytes / 4000))):
        logprobs = tuple(float(np.float32(x)) for x in -random.exponential(size=40))
        completion = Completion(
            tuple(random.integers(0, 32000, 40).tolist()),
            '{"action":"go","to":"the next room"}',
            logprobs,
            tuple((random.random(40) < 0.5).tolist()),
            logprobs,
            0,
            "grammar",
            20,
        )
        prompt = tuple(random.integers(0, 32000, 200).tolist())
        turns.append(Turn("You stand in a room with two doors. " * 5, prompt, grammar, completion, 0.1))
    return Trajectory(EpisodeTask(0, 0), tuple(turns), True, False, True, 0, "0" * 64)


def raw_rate(path: Path, records: Sequence[EpisodeRecord]) -> float:
    """Episodes a second when their bytes are appended to a file and nothing else is done."""
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(records), PUT):
            file.write(b"".join(record.payload + b"\n" for record in records[at : at + PUT]))
    seconds = time.perf_counter() - start
    path.unlink()
    return len(records) / seconds


def put_rate(directory: Path, records: Sequence[EpisodeRecord], *, is_synced: bool = False) -> PutRate:
    """Deliver all records to a new buffer and commit a batch whenever one is ready."""
    buffer = ReplayBuffer.open(directory, CAPACITY, 2**30, Fifo(), is_synced=is_synced)
    durations_s: list[float] = []
    version = 0
    start = time.perf_counter()
    for at in range(0, len(records), PUT):
        before = time.perf_counter()
        buffer.put(records[at : at + PUT], 0)
        durations_s.append(time.perf_counter() - before)
        if buffer.ready() >= BATCH:
            leased = buffer.lease(BATCH, version, 8 + version)
            version += 1
            buffer.commit([lent.record.episode_id for lent in leased], version)
    seconds = time.perf_counter() - start
    buffer.close()
    p50, p99 = np.percentile(durations_s, [50, 99]) * 1000
    return PutRate(len(records) / seconds, float(p50), float(p99))


def restoring(directory: Path, records: Sequence[EpisodeRecord]) -> list[Measurement]:
    """Open a buffer again that is full."""
    buffer = ReplayBuffer.open(directory, CAPACITY, 2**30, Fifo())
    for at in range(0, len(records), PUT):
        buffer.put(records[at : at + PUT], 0)
    buffer.close()
    start = time.perf_counter()
    again = ReplayBuffer.open(directory, CAPACITY, 2**30, Fifo())
    seconds = time.perf_counter() - start
    assert len(again) == len(records)
    again.close()
    return [measure("restore_full_buffer_s", seconds, "s")]


def sealing(directory: Path, records: Sequence[EpisodeRecord]) -> list[Measurement]:
    """One segment from JSON lines to Parquet."""
    buffer = ReplayBuffer.open(directory, CAPACITY, 2**30, Fifo(), segment_episodes=len(records))
    buffer.put(records, 0)
    buffer.commit([record.episode_id for record in records], 1)
    [path] = buffer.sealable(1)
    before = path.stat().st_size
    start = time.perf_counter()
    sealed = seal(path)
    seconds = time.perf_counter() - start
    buffer.close()
    return [
        measure("seal_episodes_per_s", len(records) / seconds, "1/s"),
        measure("sealed_size", sealed.stat().st_size / before, "ratio"),
    ]


def drawing(records: Sequence[EpisodeRecord]) -> list[Measurement]:
    """A prioritised batch out of a full buffer."""
    buffer = ReplayBuffer(CAPACITY, 2**30, Prioritised(seed=0))
    buffer.put(records, 0)
    start = time.perf_counter()
    for version in range(10):
        buffer.lease(BATCH, version, 100)
    return [measure("prioritised_lease_ms", (time.perf_counter() - start) * 100, "ms")]


def counting() -> list[Measurement]:
    """Books of a million episodes."""
    tracemalloc.start()
    books = books_of(MILLION // 10)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    start = time.perf_counter()
    books = books_of(MILLION)
    read = time.perf_counter()
    assert books.open_ids(MILLION) == []
    asked = time.perf_counter()
    assert books.open_ids(MILLION + 10) == list(range(MILLION, MILLION + 10))
    again = time.perf_counter()
    books.apply({"event": "rewound", "version": 1, "next_episode": MILLION, "epoch": 1, "keeps_text": True})
    rewound = time.perf_counter()
    assert books.ledger().trained == MILLION
    return [
        measure("books_bytes_per_episode", size / MILLION * 10, "bytes", "<= 32"),
        measure("books_of_a_million_events_s", read - start, "s"),
        measure("first_open_ids_of_a_million_ms", (asked - read) * 1000, "ms"),
        measure("next_open_ids_of_a_million_ms", (again - asked) * 1000, "ms"),
        measure("rewind_of_a_million_ms", (rewound - again) * 1000, "ms"),
    ]


def books_of(count: int) -> Books:
    """Episodes that were delivered and learned from."""
    books = Books()
    for first in range(0, count, PUT):
        ids = list(range(first, min(first + PUT, count)))
        nothing = {"failed": [], "duplicates": 0}
        books.apply({"event": "put", "ids": ids, "groups": [-1] * len(ids), "versions": [0] * len(ids), **nothing})
        books.apply({"event": "trained", "version": 1, "ids": ids, "dropped": {}})
    return books


if __name__ == "__main__":
    main()
