"""Pinned: a checkpoint reads back bit for bit; what a kill or a hand left incomplete or altered is invisible or
refused; the newest are kept; nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from olal.adapters import (
    AdapterLayout,
    Checkpoint,
    checkpoint,
    complete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from olal.errors import AdapterMismatch, CheckpointCorrupt

Flat = NDArray[np.float32]
Save = Callable[..., Path]

ARRAYS = {
    "critic.weight": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "adam.0.step": np.array(7.0, np.float32),
    "counts": np.array([1, -2], np.int64),
    "none": np.zeros((0, 3), np.float32),
}
STATE = {"random": {"counter": [1, 2**64 - 1]}, "counters": {"episodes": 3}, "rate": 0.1}


@pytest.fixture
def save(tmp_path: Path, layout: AdapterLayout, flat: Flat) -> Save:
    def write(version: int = 3, *, keep: int = 3) -> Path:
        return write_checkpoint(tmp_path, Checkpoint(version, flat, ARRAYS, STATE), layout, {"r": 2}, keep=keep)

    return write


def test_what_is_written_reads_back(save: Save, layout: AdapterLayout, flat: Flat) -> None:
    restored = read_checkpoint(save(), layout)

    assert restored.version == 3
    assert restored.flat.tobytes() == flat.tobytes()
    assert restored.state == STATE
    assert restored.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert restored.arrays[name].dtype == array.dtype
        assert restored.arrays[name].shape == array.shape
        assert np.array_equal(restored.arrays[name], array)


def test_a_restored_checkpoint_can_be_written_again(save: Save, tmp_path: Path, layout: AdapterLayout) -> None:
    first = save()

    again = write_checkpoint(tmp_path / "other", read_checkpoint(first, layout), layout, {"r": 2}, keep=1)

    assert (again / "COMMIT").read_text() == (first / "COMMIT").read_text()


def test_every_file_is_json_or_safetensors(save: Save) -> None:
    files = sorted(path.relative_to(path.parents[1]).as_posix() for path in save().rglob("*") if path.is_file())

    assert [name.split("/")[-1] for name in files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "COMMIT",
        "learner.safetensors",
        "state.json",
    ]


@pytest.mark.parametrize(
    "name",
    ["state.json", "learner.safetensors", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"],
)
def test_an_altered_file_is_named(save: Save, layout: AdapterLayout, name: str) -> None:
    path = save()
    content = bytearray((path / name).read_bytes())
    content[-3] ^= 1
    (path / name).write_bytes(content)

    with pytest.raises(CheckpointCorrupt, match=rf"altered.*{name}"):
        read_checkpoint(path, layout)


@pytest.mark.parametrize("name", ["state.json", "learner.safetensors", "adapter/adapter_model.safetensors", "COMMIT"])
def test_a_missing_file_is_an_incomplete_checkpoint(save: Save, layout: AdapterLayout, name: str) -> None:
    path = save()
    (path / name).unlink()

    with pytest.raises(CheckpointCorrupt, match="incomplete") as caught:
        read_checkpoint(path, layout)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("marker", ["", "{}", "[]", "\udcff", '{"state.json": "0"}', "7"])
def test_a_damaged_marker_is_refused(save: Save, layout: AdapterLayout, marker: str) -> None:
    path = save()
    (path / "COMMIT").write_bytes(marker.encode(errors="surrogateescape"))

    with pytest.raises(CheckpointCorrupt):
        read_checkpoint(path, layout)


def test_only_marked_directories_exist_for_a_reader(save: Save, tmp_path: Path) -> None:
    first, second = save(1), save(2)
    (second / "COMMIT").unlink()
    (tmp_path / "step-00000009.tmp-4711" / "adapter").mkdir(parents=True)

    assert complete_checkpoints(tmp_path) == [first]
    assert complete_checkpoints(tmp_path / "nowhere") == []


@pytest.mark.parametrize("files_done", range(5))
def test_a_kill_while_writing_leaves_the_old_checkpoint_alone(
    save: Save, tmp_path: Path, layout: AdapterLayout, monkeypatch: pytest.MonkeyPatch, files_done: int
) -> None:
    old = save(1, keep=1)
    done: list[Path] = []

    def sync(path: Path) -> str:
        if len(done) == files_done:
            raise KeyboardInterrupt
        done.append(path)
        return "0"

    monkeypatch.setattr(checkpoint, "_sync_and_digest", sync)
    with pytest.raises(KeyboardInterrupt):
        save(2, keep=1)

    assert complete_checkpoints(tmp_path) == [old]
    assert read_checkpoint(old, layout).version == 1


def test_an_old_checkpoint_goes_only_after_the_new_one_is_on_disk(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, synced = save(1, keep=1), []
    rmtree, sync = shutil.rmtree, checkpoint._sync_directory
    monkeypatch.setattr(checkpoint, "_sync_directory", lambda path: (synced.append(path), sync(path)))

    def delete(path: Path, **options: bool) -> None:
        if path == old:
            assert synced[-2:] == [tmp_path / "step-00000002", tmp_path]
        rmtree(path, **options)

    monkeypatch.setattr(checkpoint.shutil, "rmtree", delete)
    save(2, keep=1)

    assert not old.exists()


def test_what_a_kill_left_behind_does_not_hinder_the_next_write(
    save: Save, tmp_path: Path, layout: AdapterLayout
) -> None:
    path = save(5)
    (path / "COMMIT").unlink()
    (path / "state.json").write_text("{")

    save(5)

    assert read_checkpoint(path, layout).version == 5
    assert complete_checkpoints(tmp_path) == [path]


def test_a_version_may_be_written_twice(save: Save, layout: AdapterLayout) -> None:
    save(4)

    assert read_checkpoint(save(4), layout).version == 4


def test_the_newest_are_kept(save: Save, tmp_path: Path) -> None:
    for version in (1, 2, 9, 10, 100):
        save(version, keep=2)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000010", "step-00000100"]


def test_a_half_deleted_checkpoint_does_not_look_complete(
    save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = save(1)

    def rmtree(path: Path, **_: bool) -> None:
        if path == old:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.shutil, "rmtree", rmtree)
    with pytest.raises(KeyboardInterrupt):
        save(2, keep=1)

    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step-00000002"]


def test_the_adapter_of_another_model_is_refused(save: Save, layout: AdapterLayout) -> None:
    path = save()
    reordered = AdapterLayout(tuple(reversed(layout.names)), tuple(reversed(layout.shapes)))

    for other in (reordered, AdapterLayout(("m.x",), ((2, 3),))):
        with pytest.raises(AdapterMismatch):
            read_checkpoint(path, other)


def test_state_that_claims_another_version_does_not_win(tmp_path: Path, layout: AdapterLayout, flat: Flat) -> None:
    lying = Checkpoint(3, flat, {}, {"version": 99})

    path = write_checkpoint(tmp_path, lying, layout, {}, keep=1)

    assert json.loads((path / "state.json").read_text())["version"] == 3


def test_what_a_killed_writer_left_is_cleared_by_the_next(save: Save, tmp_path: Path) -> None:
    left = tmp_path / "step-00000009.tmp-4711"
    (left / "adapter").mkdir(parents=True)

    written = save(10)

    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [written]
