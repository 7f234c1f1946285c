"""RunDirectory: made whole or not at all, and only complete checkpoints count."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from olal.config import RunConfig, load_config
from olal.errors import RunDirectoryInvalid
from olal.experiments import run_directory
from olal.experiments.run_directory import RunDirectory

NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


def add_checkpoint(run: RunDirectory, name: str, *, complete: bool) -> Path:
    path = run.checkpoints_path / name
    path.mkdir()
    if complete:
        (path / "COMMIT").write_text("{}")
    return path


def test_created_run_opens_with_its_config(tmp_path):
    config = load_config([], {"learner.kind": "mezo", "env.options.size": 5})
    RunDirectory.create(tmp_path / "runs" / "a", config)
    run = RunDirectory.open(tmp_path / "runs" / "a")
    assert run.read_config() == config
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.yaml",
        "episodes",
        "meta.json",
        "metrics.jsonl",
    ]


def test_meta_says_what_made_the_run(tmp_path):
    run = RunDirectory.create(tmp_path / "a", RunConfig(), command=["olal", "launch"], created=NOON)
    meta = json.loads(run.meta_path.read_text())
    assert meta["command"] == ["olal", "launch"]
    assert meta["created"] == "2026-01-02T12:00:00+00:00"
    assert set(meta["versions"]) == {"olal", "ray", "torch"}


def test_empty_directory_may_become_a_run(tmp_path):
    (tmp_path / "a").mkdir()
    run = RunDirectory.create(tmp_path / "a", RunConfig())
    assert RunDirectory.open(run.path).read_config() == RunConfig()


def test_existing_run_is_refused_with_the_way_on(tmp_path):
    run = RunDirectory.create(tmp_path / "a", RunConfig())
    before = run.config_path.read_bytes()
    with pytest.raises(RunDirectoryInvalid, match="olal resume") as caught:
        RunDirectory.create(run.path, RunConfig(seed=1))
    assert "\n" not in str(caught.value)
    assert run.config_path.read_bytes() == before


def test_directory_with_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryInvalid, match="empty directory"):
        RunDirectory.create(tmp_path, RunConfig())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_of_two_that_begin_at_once_the_second_leaves_the_first_alone(tmp_path, monkeypatch):
    config = load_config([], {})
    RunDirectory(tmp_path / "a").path.mkdir()
    monkeypatch.setattr(RunDirectory, "_refuse_if_taken", lambda run: run.config_path.write_text("of the first"))
    with pytest.raises(RunDirectoryInvalid, match="another run begins here"):
        RunDirectory.create(tmp_path / "a", config)
    assert (tmp_path / "a" / "config.yaml").read_text() == "of the first"


def test_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryInvalid, match="--run-dir") as caught:
        RunDirectory.create(tmp_path / "file" / "run", RunConfig())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("existed", [True, False])
def test_failed_creation_leaves_nothing(tmp_path, monkeypatch, existed):
    def fail(config: RunConfig) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_directory, "to_yaml", fail)
    if existed:
        (tmp_path / "a").mkdir()
    with pytest.raises(RunDirectoryInvalid, match="No space left"):
        RunDirectory.create(tmp_path / "a", RunConfig())
    assert list(tmp_path.rglob("*")) == ([tmp_path / "a"] if existed else [])


def test_what_is_no_run_is_refused_with_what_is_missing(tmp_path):
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunDirectoryInvalid, match=r"meta\.json, episodes, checkpoints missing"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunDirectoryInvalid, match="no such run directory"):
        RunDirectory.open(tmp_path / "none")


def test_newest_checkpoint_is_the_highest_complete_version(tmp_path):
    run = RunDirectory.create(tmp_path / "a", RunConfig())
    assert run.newest_checkpoint() is None
    add_checkpoint(run, "step-00000009", complete=True)
    newest = add_checkpoint(run, "step-100000000", complete=True)
    add_checkpoint(run, "step-200000000", complete=False)
    add_checkpoint(run, "step-300000000.tmp-42", complete=True)
    assert run.newest_checkpoint() == newest


def test_default_path_is_free(tmp_path):
    first = RunDirectory.default_path("demo", root=tmp_path, now=NOON)
    first.mkdir()
    second = RunDirectory.default_path("demo", root=tmp_path, now=NOON)
    second.mkdir()
    third = RunDirectory.default_path("demo", root=tmp_path, now=NOON)
    names = [path.name for path in (first, second, third)]
    assert names == ["demo-20260102-120000", "demo-20260102-120000-2", "demo-20260102-120000-3"]
