"""Pinned: a delta is 12 bytes a direction and 48 besides, and reads back exactly; a log cut anywhere gives its whole
deltas and says so; one that was altered is refused; a writer goes on behind the last whole delta, or from a checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from olal.adapters import (
    OVERHEAD_BYTES,
    AdapterLayout,
    SeedLog,
    SeedMaster,
    SeedSpace,
    decode_delta,
    encode_delta,
    read_seed_log,
)
from olal.errors import AdapterMismatch, SeedLogCorrupt
from olal.types import AdapterDelta, AdapterUpdate

Flat = NDArray[np.float32]
LAYOUT = AdapterLayout(("m.q.lora_A.weight", "m.q.lora_B.weight"), ((2, 30), (40, 2)))
SPACE = SeedSpace(LAYOUT, np.linspace(-1, 1, 140).astype(np.float32))


def make_deltas(
    count: int, *, per_update: int = 3, keep: float = 1.0, start: AdapterUpdate | None = None, space: SeedSpace = SPACE
) -> list[AdapterDelta]:
    master, random = SeedMaster(space), np.random.default_rng(0)
    if start is not None:
        master.restore(start.version, start.flat)
    deltas = []
    for _ in range(count):
        master.begin(keep=keep)
        master.move(random.integers(0, 2**64, per_update, dtype=np.uint64), random.standard_normal(per_update))
        deltas.append(master.commit())
    return deltas


def led_to(delta: AdapterDelta) -> AdapterUpdate:
    """What the log is told besides, and needs only where it must start anew."""
    return AdapterUpdate(delta.version, delta.digest, SPACE.anchor)


def whole(version: int, size: float = 2.0) -> AdapterUpdate:
    """An adapter that no seeds led to."""
    flat = (size * SPACE.anchor).astype(np.float32)
    return AdapterUpdate(version, LAYOUT.digest(flat), flat)


def are_same(ones: Sequence[AdapterDelta], others: Sequence[AdapterDelta]) -> bool:
    return len(ones) == len(others) and all(same(*pair) for pair in zip(ones, others, strict=True))


def same(one: AdapterDelta, other: AdapterDelta) -> bool:
    scalars = [(d.version, d.parent_digest, d.digest, d.space, d.keep) for d in (one, other)]
    return scalars[0] == scalars[1] and one.records.tobytes() == other.records.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of four updates."""
    with SeedLog(tmp_path / "seeds.log", SPACE) as log:
        for delta in make_deltas(4):
            log.append(delta, led_to(delta))
    return tmp_path / "seeds.log"


@pytest.mark.parametrize("count", [0, 1, 8, 64])
def test_a_delta_is_twelve_bytes_a_direction_and_reads_back(count: int) -> None:
    [delta] = make_deltas(1, per_update=count, keep=0.9)

    data = encode_delta(delta)

    assert len(data) == 12 * count + OVERHEAD_BYTES <= 12 * count + 64
    assert same(decode_delta(data), delta)


@given(st.integers(0, 83), st.integers(0, 7))
def test_a_flipped_bit_of_a_delta_is_noticed(place: int, bit: int) -> None:
    data = bytearray(encode_delta(make_deltas(1)[0]))
    data[place] ^= 1 << bit

    with pytest.raises(AdapterMismatch):
        decode_delta(bytes(data))


def test_what_is_appended_reads_back(path: Path) -> None:
    content = read_seed_log(path)

    assert content.origin == SPACE.origin
    assert are_same(content.deltas, make_deltas(4))
    assert (content.torn_bytes, content.ends[-1]) == (0, path.stat().st_size)


def test_a_log_cut_anywhere_gives_its_whole_deltas_and_says_so(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = path.read_bytes()
    ends = read_seed_log(path).ends
    for length in range(len(data)):
        path.write_bytes(data[:length])
        caplog.clear()

        with caplog.at_level(logging.WARNING):
            content = read_seed_log(path)

        whole = sum(end <= length for end in ends)
        assert len(content.deltas) == whole
        assert content.torn_bytes == length - (ends[whole - 1] if whole else 16 * (length >= 16))
        assert bool(caplog.records) == (content.torn_bytes > 0 and length > 16)


@pytest.mark.parametrize("length", [0, 5, 16, 17, 150, -1])
def test_a_writer_goes_on_behind_what_a_kill_left(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])

    with SeedLog(path, SPACE) as log:
        for delta in make_deltas(4)[log.version :]:
            log.append(delta, led_to(delta))

    assert are_same(read_seed_log(path).deltas, make_deltas(4))


def test_an_altered_log_is_refused_wherever_it_was_altered(path: Path) -> None:
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(SeedLogCorrupt, match=r"seeds\.log"):
            SeedLog(path, SPACE)


def test_deltas_that_do_not_follow_upon_each_other_are_refused(path: Path) -> None:
    head, deltas = path.read_bytes()[:16], [encode_delta(delta) for delta in make_deltas(4)]
    for order in ([0, 2], [0, 0], [1], [1, 0]):
        path.write_bytes(head + b"".join(deltas[i] for i in order))
        with pytest.raises(SeedLogCorrupt, match="does not go on from version"):
            read_seed_log(path)


def test_a_version_is_never_written_twice(path: Path) -> None:
    with SeedLog(path, SPACE) as log:
        for delta in make_deltas(6)[:4] + make_deltas(6)[5:]:
            with pytest.raises(SeedLogCorrupt, match="goes on with version 5"):
                log.append(delta, led_to(delta))

    assert len(read_seed_log(path).deltas) == 4


def test_a_run_that_goes_on_from_its_checkpoint_makes_later_updates_again(path: Path) -> None:
    with SeedLog(path, SPACE) as log:
        log.rewind(led_to(make_deltas(2)[1]))
        assert [delta.version for delta in read_seed_log(path).deltas] == [1, 2]
        for delta in make_deltas(4)[2:]:
            log.append(delta, led_to(delta))

        assert [delta.version for delta in read_seed_log(path).deltas] == [1, 2, 3, 4]


def test_a_log_of_another_adapter_is_refused(path: Path) -> None:
    with pytest.raises(SeedLogCorrupt, match="written under this model and adapter"):
        SeedLog(path, SeedSpace(LAYOUT, SPACE.anchor, base="another model"))


def test_what_is_no_log_is_refused(path: Path) -> None:
    path.write_bytes(b"something else entirely")

    with pytest.raises(SeedLogCorrupt, match="not a seed log"):
        read_seed_log(path)


def test_an_update_is_on_the_disk_before_append_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with SeedLog(path, SPACE) as log:
        monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(path.stat().st_size))

        log.append(make_deltas(5)[4], whole(5))

    assert synced == [read_seed_log(path).ends[-1]]


def test_seeds_after_versions_without_any_start_from_a_snapshot(path: Path) -> None:
    start = whole(7)
    after = make_deltas(2, start=start)
    with SeedLog(path, SPACE) as log:
        for version in (5, 6, 7):
            log.append(None, whole(version, size=version - 5.0))
        assert log.version == 4, "what is not made from seeds is not written"
        for delta in after:
            log.append(delta, led_to(delta))

    content = read_seed_log(path)

    assert [entry.version for entry in content.entries] == [1, 2, 3, 4, 7, 8, 9]
    assert content.entries[4].flat.tobytes() == start.flat.tobytes()
    assert [content.way_to(version) is None for version in range(11)] == [
        *(False, False, False, False, False, True, True, False, False, False, True)
    ]
    assert [entry.version for entry in content.way_to(9)] == [7, 8, 9]
    assert [entry.version for entry in content.way_to(4)] == [1, 2, 3, 4]


def test_stages_in_other_subspaces_go_on_in_one_log(path: Path) -> None:
    last = SeedMaster(SPACE)
    for delta in read_seed_log(path).deltas:
        last.restore(delta.version, SPACE.moved(last.flat, delta.records))
    after = make_deltas(2, start=last.current(), space=SPACE.within("core"))
    with SeedLog(path, SPACE.within("b")) as log:
        log.append(after[0], led_to(after[0]))
        log.append(after[1], led_to(after[1]))

    assert {delta.space for delta in read_seed_log(path).deltas} == {SPACE.digest, SPACE.within("core").digest}
    assert [entry.version for entry in read_seed_log(path).entries] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_goes_on_from_a_checkpoint_without_seeds_starts_from_its_adapter(path: Path) -> None:
    start = whole(6)
    [delta] = make_deltas(1, start=start)
    with SeedLog(path, SPACE) as log:
        log.rewind(start)
        log.append(delta, led_to(delta))

    assert [entry.version for entry in read_seed_log(path).entries] == [1, 2, 3, 4, 6, 7]


def test_a_delta_of_another_start_or_other_rules_is_refused(path: Path) -> None:
    other = SeedSpace(LAYOUT, SPACE.anchor, base="another model")
    with SeedLog(path, SPACE) as log:
        log.append(None, whole(5))
        for delta in (*make_deltas(1, start=whole(5, size=3.0)), *make_deltas(1, start=whole(5), space=other)):
            with pytest.raises(SeedLogCorrupt):
                log.append(delta, led_to(delta))


def test_a_snapshot_that_was_altered_or_cut_is_noticed(path: Path) -> None:
    size = path.stat().st_size
    [delta] = make_deltas(1, start=whole(5))
    with SeedLog(path, SPACE) as log:
        log.append(None, whole(5))
        log.append(delta, led_to(delta))
    data, ends = path.read_bytes(), read_seed_log(path).ends
    for place in range(size, ends[4], 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(SeedLogCorrupt):
            read_seed_log(path)
        path.write_bytes(data[:place])
        assert (read_seed_log(path).version, read_seed_log(path).torn_bytes) == (4, place - size)
