"""Segments: the files that hold the episodes of a run, a few hundred each, in the order of their arrival.

    episodes/segment-000000.parquet     sealed: all its episodes are settled for good
    episodes/segment-000001.jsonl       closed
    episodes/segment-000002.jsonl       written to; the last line may be torn

An episode that was played again after a rewind stands twice; the last one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from olal.errors import RunDirectoryInvalid
from olal.replay.episode_json import from_json, read_json_lines
from olal.types import Trajectory

_NAME = re.compile(r"segment-(\d+)\.(jsonl|parquet)")


def segment_path(directory: Path, index: int, *, is_sealed: bool = False) -> Path:
    """Name of a segment.

    >>> segment_path(Path("episodes"), 3).as_posix()
    'episodes/segment-000003.jsonl'
    """
    return directory / f"segment-{index:06d}.{'parquet' if is_sealed else 'jsonl'}"


def segments_in(directory: Path) -> dict[int, Path]:
    """Segments by index, in order; where both forms are there, the sealed one, which is whole."""
    found: dict[int, Path] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        match = _NAME.fullmatch(path.name)
        if match:
            found[int(match[1])] = path  # .parquet comes after .jsonl
    return dict(sorted(found.items()))


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Episodes of one file as `to_json` writes them, in either form.

    Raises:
        RunDirectoryInvalid: a line other than the last is no JSON object.
        OSError: it cannot be read.
    """
    if path.suffix != ".parquet":
        return read_json_lines(path)
    from olal.replay.sealed import read_sealed  # pyarrow is loaded by those alone who need it

    return read_sealed(path)


def read_segment(path: Path) -> list[Trajectory]:
    """Trajectories of one segment, in either form, in the order of the file.

    Raises:
        RunDirectoryInvalid: it is damaged.
        OSError: it cannot be read.
    """
    trajectories: list[Trajectory] = []
    for number, row in enumerate(read_rows(path), start=1):
        try:
            trajectories.append(from_json(row))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RunDirectoryInvalid(f"not an episode of olal ({reason}): {path}:{number}") from error
    return trajectories


def read_episodes(path: Path) -> list[Trajectory]:
    """Trajectories of a segment, or of all segments of a directory; of an episode that stands twice the last one.

    Raises:
        RunDirectoryInvalid: a file is damaged.
        OSError: a file cannot be read.
    """
    last: dict[int, Trajectory] = {}
    for part in segments_in(path).values() if path.is_dir() else [path]:
        for trajectory in read_segment(part):
            last.pop(trajectory.task.episode_id, None)
            last[trajectory.task.episode_id] = trajectory
    return list(last.values())
