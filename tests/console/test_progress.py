"""The three ways a run shows itself, each with the same run of three updates."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from olal.console import JsonProgress, LineProgress, LiveProgress, evaluation_table, open_progress, sparkline
from olal.experiments.progress import EvaluationRow, Progress, RunInfo, RunSummary, UpdateRow

ROWS = (
    EvaluationRow("random", -0.31, -0.36, -0.27, 0.12, 18.2, 0.0, 0.0),
    EvaluationRow("final", 0.871, 0.86, 0.88, 1.0, 6.1, 0.0, 0.987),
    EvaluationRow("starting", -0.1, -0.15, -0.05, None, 15.0, 0.0, 0.18),
)
SUMMARY = RunSummary(Path("runs/demo"), ROWS, 0.886, 0.987, 131.2, 17.3)


def play(progress: Progress, summary: RunSummary = SUMMARY) -> None:
    progress.status("starting Ray")
    progress.started(RunInfo(Path("runs/demo"), "http://127.0.0.1:8265", 2, 3))
    for version in (1, 2, 3):
        loss = {"loss": float("nan")}
        progress.updated(UpdateRow(version, 64, 210.5, 1900.0, 0.25, None, 64, 4096, 0.5, 1.25, 61.0, 7, loss))
    progress.finished(summary)


def printed(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_are_one_per_update_without_escapes():
    console = printed()
    play(LineProgress(console))
    lines = [line for line in text_of(console).splitlines() if line.startswith("version ")]
    assert len(lines) == 3
    assert lines[2].startswith("version 3/3 return=0.250 success=- env_steps/s=210 tokens/s=1,900 replay=64/4096 ")
    assert "failed=7" in lines[2]
    assert "\x1b" not in text_of(console)


def test_line_longer_than_the_terminal_stays_one_line():
    console = printed(width=40)
    play(LineProgress(console))
    assert sum(line.startswith("version ") and "elapsed=1:01" in line for line in text_of(console).splitlines()) == 3


def test_json_lines_are_objects_with_an_event():
    stream = io.StringIO()
    play(JsonProgress(stream))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["status", "started", "updated", "updated", "updated", "finished"]
    assert events[1]["run_dir"] == "runs/demo"
    assert events[2]["extra"] == {"loss": None}
    assert events[-1]["score"] == 0.987


def test_live_table_shows_the_newest_update_and_the_curve():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with LiveProgress(console) as progress:
        play(progress)
    text = text_of(console)
    for expected in ("steps/s", "tokens/s", "success", "replay", "staleness", "learner", "3/3", "1.25 s", "▁▁▁"):
        assert expected in text
    assert "7 failed" in text
    assert "…" not in text.replace(" … ", "")


def test_live_table_gives_the_terminal_back_after_an_error():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with contextlib.suppress(KeyError), LiveProgress(console) as progress:
        progress.status("playing")
        raise KeyError
    assert text_of(console).rstrip().endswith("\x1b[?25h")


def test_table_goes_from_optimum_to_random_and_adds_the_optimum():
    console = printed(width=80)
    console.print(evaluation_table(SUMMARY))
    lines = text_of(console).splitlines()
    order = [line.split()[0] for line in lines if "policy " in line or "optimum" in line]
    assert order == ["policy", "exact", "final", "starting", "random"]
    assert next(line for line in lines if "final" in line).split()[-1] == "0.987"
    assert next(line for line in lines if "optimum" in line).split()[-1] == "1.000"


def test_table_without_an_optimum_has_none():
    console = printed()
    console.print(evaluation_table(RunSummary(Path("runs/demo"), ROWS, None, None)))
    assert "optimum" not in text_of(console)


def test_interrupted_run_says_how_to_go_on():
    console = printed()
    play(LineProgress(console), RunSummary(Path("runs/demo"), (), None, None, 3.0, None, "interrupted"))
    assert "olal resume runs/demo" in text_of(console)


def test_progress_fits_where_the_output_goes():
    with open_progress(io.StringIO(), as_json=False) as lines, open_progress(io.StringIO(), as_json=True) as objects:
        assert isinstance(lines, LineProgress)
        assert isinstance(objects, JsonProgress)


@pytest.mark.parametrize(
    ("values", "curve"),
    [([], ""), ([1.0], "▁"), ([0.0, 7.0, 3.0], "▁█▄"), ([0.0, float("nan"), 1.0], "▁ █"), ([float("nan")], " ")],
)
def test_sparkline_runs_from_least_to_greatest(values, curve):
    assert sparkline(values) == curve


def test_long_curve_is_squeezed_to_its_width():
    assert len(sparkline([float(value) for value in range(1000)], width=20)) == 20


@pytest.mark.parametrize("as_json", [True, False])
def test_what_others_print_becomes_a_line_of_its_own(as_json):
    stream = io.StringIO()
    with open_progress(stream, as_json=as_json) as progress:
        progress.status("starting Ray")
        sys.stdout.write("\x1b[33m(raylet)\x1b[0m WARNING: 8 workers")
        progress.status("loading models")
        sys.stdout.write(" have been started\n\n")
    sys.stdout.write("not ours\n")
    lines = stream.getvalue().splitlines()
    texts = [json.loads(line)["text"] for line in lines] if as_json else lines
    assert texts == ["starting Ray", "loading models", "(raylet) WARNING: 8 workers have been started"]
