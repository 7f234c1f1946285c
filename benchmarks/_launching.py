"""Runs `olal launch` as a user does and reads what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[1] / "configs"


def launch(config: str, *options: str) -> dict[str, Any]:
    """Train by one of the shipped configs in a fresh directory; environments of this folder can be named.

    Args:
        config: name of a file under configs/, without its ending.
        options: further options of `olal launch`.

    Returns:
        The record that `olal launch --json` ends with, with the rows by policy under "policies" and
        those of all updates under "updates".
    """
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])}
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "olal", "launch", str(CONFIGS / f"{config}.yaml")]
        command += ["--run-dir", str(Path(directory) / config), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    record = events[-1]
    record["updates"] = [event for event in events if event["event"] == "updated"]
    record["policies"] = {row["policy"]: row for row in record["rows"]}
    return record
