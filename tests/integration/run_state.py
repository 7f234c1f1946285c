"""What a run's directory says of it, for the tests that take its processes down."""

from __future__ import annotations

import json
import time
from pathlib import Path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def adapter_digest(run: Path) -> str:
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    return json.loads((checkpoint / "state.json").read_text())["adapter_digest"]


def status(run: Path) -> dict:
    try:
        return json.loads((run / "status.json").read_text())
    except (OSError, ValueError):
        return {}


def await_status(run: Path, process, is_right, timeout_s: float = 240) -> dict:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        found = status(run)
        if found and is_right(found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{run} never came to the state that was waited for: {status(run)}")


def pid_of(found: dict, role: str) -> int:
    return next(row["pid"] for row in found["workers"] if row["pid"]) if role == "rollout" else found["pids"][role]


def trained_once(run: Path) -> set[int]:
    """Replays ledger.jsonl by its own rules; fails where an episode is trained twice on one line of versions."""
    trained: dict[int, int] = {}
    for event in lines(run / "ledger.jsonl"):
        if event["event"] == "trained":
            assert not trained.keys() & set(event["ids"])
            trained |= dict.fromkeys(event["ids"], event["version"])
        if event["event"] == "rewound":
            trained = {
                number: version
                for number, version in trained.items()
                if version <= event["version"] and number < event["next_episode"]
            }
    return set(trained)


def check_books(olal, run: Path, *, all_trained: bool) -> None:
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    balance = told["balance"]
    assert told["state"] == "finished"
    assert balance["in_flight"] == 0
    assert balance["handed_out"] == balance["trained"] + balance["dropped"] + balance["buffered"]
    assert balance["trained"] == len(trained_once(run))
    if all_trained:
        assert trained_once(run) == set(range(balance["handed_out"]))


def pids(told: dict) -> set[int]:
    return {row["pid"] for row in told["workers"] if row["pid"]}


def await_all_pids(run: Path, process, count: int) -> dict:
    return await_status(run, process, lambda told: len(pids(told)) == count)
