"""kill -9 of rollout actors, replay buffer and learner at random times, a hundred times over one run.

The run is asynchronous, on the grid world, started by `olal launch` as a user does. While it goes on, this script reads
its status.json and kills a process that it names: mostly a rollout actor, now and then the replay buffer or the
learner. Afterwards the books are checked twice: by what `olal status` says, and by going through ledger.jsonl here,
where no episode may have been trained twice on one line of versions. The same run without kills is the baseline.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _launching import CONFIGS
from _report import arguments, measure, report

ROLES = {"rollout": 0.84, "replay": 0.08, "learner": 0.08}


def command(run: Path, updates: int, seed: int) -> list[str]:
    """The launch of both runs."""
    options = ["--mode", "async", "--workers", "2", "--updates", str(updates), "--seed", str(seed), "--json"]
    config = str(CONFIGS / "gridworld.yaml")
    return [
        sys.executable, "-m", "olal", "launch", config, *options, "--run-dir", str(run),
        "--set", "training.checkpoint_every=2",
    ]  # fmt: skip


def status_of(run: Path) -> Mapping[str, Any]:
    """status.json; empty while there is none."""
    try:
        return json.loads((run / "status.json").read_text())
    except (OSError, ValueError):
        return {}


def living(status: Mapping[str, Any], killed: set[int]) -> dict[str, list[int]]:
    """Processes by role that may be killed: those the run knows of and that were not killed yet."""
    pids = {
        "rollout": [row["pid"] for row in status.get("workers", []) if row["state"] == "ready" and row["pid"]],
        "replay": [status.get("pids", {}).get("replay")],
        "learner": [status.get("pids", {}).get("learner")],
    }
    return {role: [pid for pid in found if pid and pid not in killed] for role, found in pids.items()}


def disturb(run: Path, process: subprocess.Popen[str], kills: int, pause_s: float, seed: int) -> Counter[str]:
    """Kill until it was done often enough or the run ended; returns how often by role."""
    chance, done, killed = random.Random(seed), Counter[str](), set[int]()
    while process.poll() is None and done.total() < kills:
        time.sleep(chance.expovariate(1 / pause_s))
        status = status_of(run)
        if status.get("state") != "running":
            continue
        targets = living(status, killed)
        role = chance.choices(list(ROLES), list(ROLES.values()))[0]
        if not targets[role]:
            role = "rollout"
        for pid in targets[role][:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                done[role] += 1
            killed.add(pid)
            print(f"{done.total():4d}  {role:<8} killed at version {status['version']}", flush=True)
    return done


def trained_twice(run: Path) -> int:
    """Episodes that ledger.jsonl has trained twice without a rewind between that took the first time back."""
    trained, doubled = dict[int, int](), 0
    for line in (run / "ledger.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "trained":
            doubled += len(trained.keys() & set(event["ids"]))
            trained |= dict.fromkeys(event["ids"], event["version"])
        if event["event"] == "rewound":
            trained = {number: version for number, version in trained.items() if version <= event["version"]}
    return doubled


def books_of(run: Path) -> dict[str, Any]:
    """What `olal status` says."""
    asked = [sys.executable, "-m", "olal", "status", str(run), "--json"]
    return json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Run undisturbed, run disturbed, compare."""
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        calm, rough = Path(directory) / "calm", Path(directory) / "rough"
        done = subprocess.run(command(calm, options.updates, options.seed), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        baseline = json.loads(done.stdout.splitlines()[-1])["score"]
        with (Path(directory) / "out").open("w+") as out:
            began = time.monotonic()
            process = subprocess.Popen(
                command(rough, options.updates, options.seed), stdout=out, stderr=subprocess.PIPE, text=True
            )
            kills = disturb(rough, process, options.kills, options.pause, options.seed)
            _, errors = process.communicate()
            seconds = time.monotonic() - began
            out.seek(0)
            if process.returncode:
                sys.exit(errors)
            score = json.loads(out.read().splitlines()[-1])["score"]
        books = books_of(rough)
        doubled = trained_twice(rough)
    balance = books["balance"]
    lost = balance["handed_out"] - balance["trained"] - balance["dropped"] - balance["buffered"]
    print(f"\nkilled: {dict(kills)}; restarts as the run counted them: {books['restarts']}; in {seconds:.0f} s")
    print(f"ledger: {balance}; dropped by reason: {books['dropped']}; refused and played again: {books['refused']}")
    report(
        [
            measure("kills", kills.total(), "kills", f">= {options.kills}"),
            measure("episodes_lost", lost, "episodes", "<= 0"),
            measure("episodes_doubled", doubled, "episodes", "<= 0"),
            measure("final_score", score, "score", ">= 0.95", baseline=baseline),
            measure("kills_of_learner", kills["learner"], "kills"),
            measure("kills_of_replay", kills["replay"], "kills"),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
