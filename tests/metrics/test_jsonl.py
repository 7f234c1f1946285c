"""JSON lines survive a writer that was killed.

Pinned: a torn last line is skipped by the reader and removed by the next writer; non-finite numbers become null.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from olal.errors import RunDirectoryInvalid
from olal.metrics import JsonlWriter, json_line, read_jsonl


def test_records_come_back_in_order(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = [{"version": 1, "name": "é"}, {"version": 2, "nested": {"list": [1, 2]}}]
    with JsonlWriter(path) as writer:
        for record in records:
            writer.write(record)
    assert read_jsonl(path) == records


def test_each_line_is_on_disk_before_the_next(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with JsonlWriter(path) as writer:
        writer.write({"version": 1})
        assert read_jsonl(path) == [{"version": 1}]


def test_writer_appends_to_what_is_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for version in (1, 2):
        with JsonlWriter(path) as writer:
            writer.write({"version": version})
    assert [record["version"] for record in read_jsonl(path)] == [1, 2]


@pytest.mark.parametrize("torn", [b'{"version": 2, "re', b'{"name": "\xc3', b"{"])
def test_torn_last_line_is_skipped_then_removed(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"version": 1}\n' + torn)
    assert read_jsonl(path) == [{"version": 1}]
    with JsonlWriter(path) as writer:
        writer.write({"version": 3})
    assert read_jsonl(path) == [{"version": 1}, {"version": 3}]


def test_whole_last_line_without_its_newline_is_kept(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"version": 1}')
    with JsonlWriter(path) as writer:
        writer.write({"version": 2})
    assert read_jsonl(path) == [{"version": 1}, {"version": 2}]


def test_broken_line_in_the_middle_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"version": 1}\nnonsense\n{"version": 2}\n')
    with pytest.raises(RunDirectoryInvalid, match=r"metrics\.jsonl:2"):
        read_jsonl(path)


def test_file_that_does_not_exist_has_no_records(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_numbers_that_are_not_finite_become_null():
    record = {"nan": float("nan"), "deep": [{"inf": float("-inf")}], "tuple": (1.5, np.float64("nan"), np.float32(0.5))}
    assert json.loads(json_line(record)) == {"nan": None, "deep": [{"inf": None}], "tuple": [1.5, None, 0.5]}


def test_paths_and_numpy_numbers_are_plain_values():
    line = json_line({"path": Path("runs/a"), "count": np.int64(3), "ok": np.bool_(True)})
    assert json.loads(line) == {"path": "runs/a", "count": 3, "ok": True}


def test_an_object_is_refused():
    with pytest.raises(TypeError, match="plain values"):
        json_line({"what": object()})


def test_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryInvalid, match="cannot write"):
        JsonlWriter(tmp_path / "file" / "metrics.jsonl")
