"""RunDirectory: where everything of one run lies.

    runs/gridworld-20260102-030405/
        config.yaml       every setting, defaults too
        meta.json         versions, command, time
        metrics.jsonl     one line per update
        events.jsonl      deaths, restarts, alarms
        adapters.jsonl    every published version: its digest and what proves its delivery
        episodes/         what was played, in segments
        ledger.jsonl      what became of every episode
        checkpoints/      step-00000010/ ...; complete once it holds COMMIT
        seeds.log         updates as seeds and coefficients, where a learner makes them from seeds
        status.json       what the run is doing, as of a second ago
        evaluation.json   the last evaluation

Nothing in it is pickled.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Self

from olal.config import RunConfig, load_config, to_yaml
from olal.errors import RunDirectoryInvalid

_CHECKPOINT = re.compile(r"step-(\d+)")
_PARTS = ("config.yaml", "meta.json", "episodes", "checkpoints")


class RunDirectory:
    """The paths of one run; make one with `create` or `open`."""

    def __init__(self, path: Path) -> None:
        """Name the parts of a run directory without looking at the disk.

        Args:
            path: the directory.
        """
        self.path = path
        self.config_path = path / "config.yaml"
        self.meta_path = path / "meta.json"
        self.metrics_path = path / "metrics.jsonl"
        self.episodes_path = path / "episodes"
        self.checkpoints_path = path / "checkpoints"
        self.seed_log_path = path / "seeds.log"
        self.evaluation_path = path / "evaluation.json"
        self.events_path = path / "events.jsonl"
        self.lock_path = path / "run.lock"

    @classmethod
    def create(
        cls, path: Path, config: RunConfig, *, command: Sequence[str] | None = None, created: datetime | None = None
    ) -> Self:
        """Make a run directory; whatever goes wrong on the way, nothing is left behind.

        Args:
            path: where it shall be; nothing or an empty directory may be there.
            config: written as config.yaml.
            command: what was called; the arguments of this process if not given.
            created: time of birth; now if not given.

        Raises:
            RunDirectoryInvalid: the place is taken or cannot be written.
        """
        run = cls(path)
        try:
            is_new = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            run._refuse_if_taken()
            try:
                run.config_path.touch(exist_ok=False)  # of several that begin at once, one succeeds
            except FileExistsError as error:
                raise RunDirectoryInvalid(f"another run begins here; choose another --run-dir: {path}") from error
            try:
                run._fill(config, sys.argv if command is None else command, created or datetime.now(UTC))
            except BaseException:
                _clear(path, remove=is_new)
                raise
        except OSError as error:
            reason = error.strerror or str(error)
            raise RunDirectoryInvalid(f"cannot make a run here ({reason}); choose another --run-dir: {path}") from error
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a run that exists.

        Raises:
            RunDirectoryInvalid: it is no run; the message says what is missing.
        """
        if not path.is_dir():
            raise RunDirectoryInvalid(f"no such run directory: {path}")
        missing = [part for part in _PARTS if not (path / part).exists()]
        if missing:
            raise RunDirectoryInvalid(f"not a run directory, {', '.join(missing)} missing: {path}")
        return cls(path)

    @staticmethod
    def default_path(name: str, *, root: Path = Path("runs"), now: datetime | None = None) -> Path:
        """Name a place that is free: ROOT/NAME-YYYYmmdd-HHMMSS, with -2, -3 and so on behind it where that is taken."""
        stem = f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
        path, count = root / stem, 1
        while path.exists():
            count += 1
            path = root / f"{stem}-{count}"
        return path

    def absolute(self) -> Self:
        """The same run, by a path that means the same in every process."""
        return type(self)(self.path.absolute())

    def has_begun(self) -> bool:
        """Whether anything was learned or checkpointed here."""
        return self.metrics_path.stat().st_size > 0 or any(self.checkpoints_path.iterdir())

    def discard(self) -> None:
        """Remove a run that never began."""
        _clear(self.path, remove=True)

    def read_config(self) -> RunConfig:
        """Read the config the run was made with.

        Raises:
            ConfigError: it was altered into something that is no config.
        """
        return load_config([self.config_path])

    def newest_checkpoint(self) -> Path | None:
        """The complete checkpoint of the highest version; None where there is none."""
        complete = {
            int(match[1]): path
            for path in self.checkpoints_path.iterdir()
            if (match := _CHECKPOINT.fullmatch(path.name)) and (path / "COMMIT").is_file()
        }
        return complete[max(complete)] if complete else None

    def _refuse_if_taken(self) -> None:
        if self.config_path.exists() and self.meta_path.exists():
            raise RunDirectoryInvalid(
                f"already a run; go on with `olal resume {self.path}` or choose another --run-dir: {self.path}"
            )
        if any(self.path.iterdir()):
            raise RunDirectoryInvalid(f"a run needs an empty directory; choose another --run-dir: {self.path}")

    def _fill(self, config: RunConfig, command: Sequence[str], created: datetime) -> None:
        self.episodes_path.mkdir()
        self.checkpoints_path.mkdir()
        self.metrics_path.touch()
        self.config_path.write_text(to_yaml(config), encoding="utf-8")
        versions = {name: _version(name) for name in ("olal", "ray", "torch")}
        meta = {"created": created.isoformat(timespec="seconds"), "command": list(command), "versions": versions}
        self.meta_path.write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def _clear(path: Path, *, remove: bool) -> None:
    for child in path.iterdir():
        if child.is_dir():
            shutil.rmtree(child)
        else:
            child.unlink()
    if remove:
        path.rmdir()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
