"""Runs `olal launch` as a user does and reads what it says."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

CONFIGS = Path(__file__).parents[1] / "configs"
_LOOK_EVERY_S = 0.5


def launch(config: str, *options: str) -> dict[str, Any]:
    """Train by one of the shipped configs in a fresh directory; environments of this folder can be named.

    Args:
        config: name of a file under configs/, without its ending.
        options: further options of `olal launch`.

    Returns:
        The record that `olal launch --json` ends with; beside it the rows by policy under "policies", those of all
        updates under "updates", and the seconds of the whole command, "wall_s" by the clock and "cpu_s" of all its
        processes together.
    """
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "olal", "launch", str(CONFIGS / f"{config}.yaml")]
        command += ["--run-dir", str(Path(directory) / config), "--json", *options]
        started = time.monotonic()
        output, cpu_s = _watch(command, Path(directory), environment)
        wall_s = time.monotonic() - started
    events = [json.loads(line) for line in output.splitlines()]
    record = events[-1] | {"wall_s": wall_s, "cpu_s": cpu_s}
    record["updates"] = [event for event in events if event["event"] == "updated"]
    record["policies"] = {row["policy"]: row for row in record["rows"]}
    return record


def _watch(command: list[str], directory: Path, environment: dict[str, str]) -> tuple[str, float]:
    """Run a command to its end; returns what it printed and the CPU seconds of it and all that it started."""
    seconds: dict[tuple[int, float], float] = {}
    with (directory / "out").open("w+") as out, (directory / "err").open("w+") as err:
        process = psutil.Popen(command, stdout=out, stderr=err, text=True, env=environment)
        while process.poll() is None:
            for one in [process, *_children(process)]:
                try:
                    times = one.cpu_times()
                    seconds[one.pid, one.create_time()] = times.user + times.system
                except psutil.Error:  # it ended in between; what it had used when last seen stays
                    continue
            time.sleep(_LOOK_EVERY_S)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{err.read()}")
        return out.read(), sum(seconds.values())


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
