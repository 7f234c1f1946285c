"""A real Ray head for the tests that attach to one, and the `olal` command as a user runs it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

OLAL = [sys.executable, "-m", "olal"]


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    lines: list[str]
    errors: list[str]
    seconds: float

    def events(self, kind: str) -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.lines]
        return [record for record in records if record["event"] == kind]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Environment of every process: a token of its own, no Ray of anyone else's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16), "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="session")
def head(environment: dict[str, str]) -> Iterator[str]:
    """Address of a Ray head node with two CPUs that lives as long as the tests."""
    ports = [_free_port() for _ in range(3)]
    command = [
        str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={ports[0]}",
        f"--ray-client-server-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}",
        "--num-cpus=2", "--include-dashboard=false", "--object-store-memory=200000000",
    ]  # fmt: skip
    address = f"127.0.0.1:{ports[0]}"
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _await_port(ports[0], process)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `olal ARGUMENTS` in a directory of its own; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*OLAL, *map(str, arguments)],
            cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def olal(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Finished]:
    """Runs `olal ARGUMENTS` to its end."""

    def run(*arguments: object, timeout_s: float = 150) -> Finished:
        began = time.monotonic()
        process = start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        return Finished(process.returncode, out.splitlines(), err.splitlines(), time.monotonic() - began)

    return run


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """Ports that nothing listens on."""
    return lambda count: [_free_port() for _ in range(count)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(2)
                return
        time.sleep(0.3)
    raise RuntimeError("the Ray head node did not start")
