"""Pinned: what happened is on the disk; on a full one it waits, told once, until there is room."""

from __future__ import annotations

from olal.experiments.incidents import Incidents
from olal.metrics import JsonlWriter, read_jsonl


def test_what_a_full_disk_does_not_take_is_written_once_it_does(tmp_path, monkeypatch):
    told, path = [], tmp_path / "events.jsonl"
    incidents = Incidents(path, told.append, lambda role: None, lambda name: None, clock=lambda: 1.0)
    with monkeypatch.context() as full:
        full.setattr(JsonlWriter, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        incidents.alarm("stall", "nobody plays")
        incidents.alarm("stall", "nobody learns")
    assert [line for line in told if "events.jsonl" in line] == [
        "ALARM events.jsonl cannot be written, events wait in memory: No space left on device"
    ]
    assert read_jsonl(path) == []

    incidents.close()

    assert [row["line"] for row in read_jsonl(path)] == ["ALARM stall: nobody plays", "ALARM stall: nobody learns"]
