"""Runs `olal launch` as a user does and reads what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[1] / "configs"


def launch(config: str, *options: str) -> dict[str, Any]:
    """Train by one of the shipped configs in a fresh directory.

    Args:
        config: name of a file under configs/, without its ending.
        options: further options of `olal launch`.

    Returns:
        The record that `olal launch --json` ends with, with the rows by policy under "policies".
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "olal", "launch", str(CONFIGS / f"{config}.yaml")]
        command += ["--run-dir", str(Path(directory) / config), "--json", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    record = json.loads(done.stdout.splitlines()[-1])
    record["policies"] = {row["policy"]: row for row in record["rows"]}
    return record
