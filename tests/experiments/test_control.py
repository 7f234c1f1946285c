"""How `olal scale` and `olal status` reach a running run.

Pinned: a wish is carried out once, one of an earlier process never; a status is whole whenever it is read, and no
error of the disk reaches the run; the lock of a run directory is held by one process, and gone with it.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from olal.errors import RunDirectoryInvalid
from olal.experiments.control import RunControl, ask_for_workers, read_status
from olal.experiments.run_lock import is_running, run_lock

HOLD = "import sys, time; from pathlib import Path; from olal.experiments.run_lock import run_lock\n"
HOLD += "with run_lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"


def test_a_wish_is_carried_out_once(tmp_path):
    control = RunControl(tmp_path, every_s=0)
    assert control.wanted_workers() is None
    ask_for_workers(tmp_path, 5)
    assert control.wanted_workers() == 5
    assert control.wanted_workers() is None


def test_a_wish_to_an_earlier_process_is_forgotten(tmp_path):
    ask_for_workers(tmp_path, 5)
    assert RunControl(tmp_path, every_s=0).wanted_workers() is None


@pytest.mark.parametrize("text", ["", '{"workers": ', '{"workers": "many"}', '{"workers": 0}', "[]"])
def test_a_wish_that_makes_no_sense_is_none(tmp_path, text):
    control = RunControl(tmp_path, every_s=0)
    (tmp_path / "control.json").write_text(text)
    assert control.wanted_workers() is None


def test_the_status_is_told_once_a_second_and_when_it_must_be(tmp_path):
    now = [100.0]
    control = RunControl(tmp_path, clock=lambda: now[0])
    control.report(lambda: {"version": 1})
    now[0] += 0.5
    control.report(lambda: {"version": 2})
    assert read_status(tmp_path)["version"] == 1
    control.report(lambda: {"version": 3}, at_once=True)
    assert read_status(tmp_path)["version"] == 3


def test_a_disk_that_cannot_be_written_does_not_reach_the_run(tmp_path):
    RunControl(tmp_path / "gone").report(lambda: {"version": 1})
    assert read_status(tmp_path / "gone") == {}


def test_the_lock_of_a_run_is_held_by_one_process(tmp_path):
    path = tmp_path / "run.lock"
    with run_lock(path):
        assert is_running(path)
        with pytest.raises(RunDirectoryInvalid, match="another process is running this run"), run_lock(path):
            pass
    assert not is_running(path)


def test_a_killed_process_holds_no_lock(tmp_path):
    path = tmp_path / "run.lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RunDirectoryInvalid, match=f"process {process.pid} on"), run_lock(path):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 5
    while is_running(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(path)
