"""run_status and scale_run: look at a run and change its size from outside, by the files of its directory alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from olal.errors import RunFailed
from olal.experiments.control import ask_for_workers, read_status
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_lock import is_running
from olal.replay import Balance, read_ledger


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run, as it is or as it was left.

    Attributes:
        run_dir: where it is.
        state: "running", "finished", "interrupted", or "died" where no process drives it and none said goodbye.
        mode: sync or async.
        version: last policy version.
        updates: learner updates of the whole run.
        balance: where every episode is that was handed out.
        dropped: episodes by the reason for which nobody learned from them.
        duplicates: deliveries of an episode that was there already.
        refused: deliveries that did not count: of another lineage, or under an unproven adapter.
        restarts: processes that died and were started again, by role.
        workers: one row a worker.
        checkpoint: the newest complete one; empty where there is none.
    """

    run_dir: Path
    state: str
    mode: str
    version: int
    updates: int
    balance: Balance
    dropped: Mapping[str, int]
    duplicates: int
    refused: int
    restarts: Mapping[str, int]
    workers: Sequence[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    checkpoint: str = ""

    @property
    def is_balanced(self) -> bool:
        """Whether every episode that was handed out is accounted for once."""
        return self.balance.is_balanced


def run_status(run_dir: Path) -> RunStatus:
    """What a run is doing. The books are read from the run's own records, whether a process drives it or not.

    Raises:
        RunDirectoryInvalid: it is no run, or its books are damaged.
    """
    run = RunDirectory.open(run_dir)
    told = read_status(run_dir)
    state = str(told.get("state", "starting"))
    runs = is_running(run.lock_path)
    if not runs and state not in ("finished", "interrupted"):
        state = "died"
    ledger, next_episode = read_ledger(run_dir)
    handed_out = max(next_episode, int(told.get("handed_out", 0)))
    newest = run.newest_checkpoint()
    return RunStatus(
        run_dir=run_dir,
        state=state,
        mode=run.read_config().mode,
        version=int(told.get("version", 0)),
        updates=run.read_config().num_updates,
        balance=ledger.against(handed_out),
        dropped=dict(ledger.dropped),
        duplicates=ledger.duplicates,
        refused=ledger.refused,
        restarts=dict(told.get("restarts", {})),
        workers=list(told.get("workers", [])) if runs else [],
        checkpoint="" if newest is None else newest.name,
    )


def scale_run(run_dir: Path, workers: int, *, wait_s: float) -> int:
    """Ask for another number of rollout workers, and wait until they are there.

    Args:
        run_dir: of a run that runs.
        workers: how many.
        wait_s: longest wait.

    Returns:
        Workers that are ready at the end of the wait.

    Raises:
        RunDirectoryInvalid: it is no run.
        RunFailed: no process drives it.
    """
    run = RunDirectory.open(run_dir)
    if not is_running(run.lock_path):
        raise RunFailed(f"the run is not running; `olal resume {run_dir} --workers {workers}` goes on with it")
    ask_for_workers(run_dir, workers)
    deadline = time.monotonic() + wait_s
    while True:
        rows = read_status(run_dir).get("workers", [])
        ready = sum(row["state"] == "ready" for row in rows)
        if (ready == workers == len(rows)) or time.monotonic() > deadline or not is_running(run.lock_path):
            return ready
        time.sleep(0.2)
