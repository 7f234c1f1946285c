"""submit.py, without a cluster: what it refuses, what it packs, what it prints, and which code it ends with.

Pinned: an argument that a shell may have altered is refused; a packed one arrives as it was; a log that breaks off is
taken up where it ended; exit codes are those of the command.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "submit.py"


@pytest.fixture(scope="module")
def submit() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("submit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Client:
    """A dashboard that drops the connection in the middle of a log, and begins at its start every time."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = pieces
        self.calls = 0

    async def tail_job_logs(self, job_id: str):
        self.calls += 1
        yield "".join(self.pieces[: self.calls])
        if self.calls < len(self.pieces):
            raise RuntimeError("the connection broke")

    def get_job_status(self, job_id: str):
        return SimpleNamespace(is_terminal=lambda: self.calls >= len(self.pieces))


@pytest.mark.parametrize(
    "word", ["a b", "goal=[2, 3]", "$HOME", "`id`", "a;b", "a|b", "*", "~/x", "'", '"', "a\nb", ""]
)
def test_a_word_that_a_shell_would_touch_is_refused(submit, word, capsys):
    assert submit.main(["launch", "--set", word]) == 2
    assert "pass the command by --packed" in capsys.readouterr().err


def test_words_of_ordinary_commands_are_left_alone(submit):
    command = ["launch", "configs/gridworld.yaml", "--workers", "16", "--set", "learner.learning_rate=1e-4", "-n", "2"]
    assert submit.command_of(submit.parse(command)) == command
    assert submit.command_of(submit.parse(["--address", "http://127.0.0.1:1", "--", *command])) == command


def test_a_packed_command_survives_the_shell_it_is_joined_for(submit):
    command = ["launch", "--set", "env.options.goal=[2, 3]", "--set", "name=a b$(touch x)`id`;'\"*"]
    joined = " ".join([sys.executable, "-c", "'import sys; print(sys.argv[1])'", submit.pack(command)])
    word = subprocess.run(joined, shell=True, capture_output=True, text=True, check=True).stdout.strip()
    assert submit.command_of(submit.parse(["--packed", word])) == command


@pytest.mark.parametrize("word", ["launch", "bnVsbA==", "WzFd", "é"])
def test_what_was_not_packed_is_refused(submit, word, capsys):
    assert submit.main(["--packed", word]) == 2
    assert "--packed takes what --pack printed" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--packed", "WyJhIl0=", "launch"]])
def test_a_command_is_given_once(submit, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        submit.parse(arguments)
    assert "name an olal command" in capsys.readouterr().err


def test_a_log_that_breaks_off_goes_on_where_it_ended(submit, monkeypatch, capsys):
    monkeypatch.setattr(submit.time, "sleep", lambda seconds: None)
    submit.JobLog(Client("one\n", "two\n", "three\n"), "job").follow()
    assert capsys.readouterr().out == "one\ntwo\nthree\n"


def test_a_dashboard_that_stays_away_is_given_up(submit, monkeypatch):
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(submit, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock)))
    with pytest.raises(submit.Refused, match="job abc may go on") as refused:
        submit.JobLog(Client(*"abcdefghij"), "abc").follow()
    assert refused.value.code == 3


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 3, 3),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
        ("STOPPED", 130, 130),
    ],
)
def test_the_exit_code_is_that_of_the_command(submit, status, driver, code):
    assert submit.exit_code(SimpleNamespace(status=status, driver_exit_code=driver, message="")) == code


def test_it_needs_nothing_but_ray_and_the_standard_library():
    code = f"import runpy, sys; runpy.run_path({str(SCRIPT)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert not {"olal", "ray", "yaml", "requests"} & {name.partition(".")[0] for name in done.stdout.split()}
