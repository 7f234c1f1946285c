"""EpisodeRecord: one finished episode as its worker packed it, so that the buffer's process only moves bytes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import Any

from olal.metrics import json_line
from olal.replay.episode_json import from_json, to_json
from olal.types import Trajectory


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """What the buffer must know of an episode, and the rest as bytes that it never opens.

    Attributes:
        episode_id: unique within the run; the ledger's key.
        group: episodes of one group share their start; -1 for none.
        adapter_version: version that acted.
        adapter_digest: digest of that adapter.
        episode_return: undiscounted sum of rewards.
        num_turns: turns played.
        error: one line where the episode failed, else empty.
        payload: the episode as one line of JSON in UTF-8, without its newline.
    """

    episode_id: int
    group: int
    adapter_version: int
    adapter_digest: str
    episode_return: float
    num_turns: int
    error: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Leased:
    """One episode on loan to the learner.

    Attributes:
        record: the episode.
        weight: importance weight of its draw; 1.0 where nothing was drawn by chance.
    """

    record: EpisodeRecord
    weight: float = 1.0

    def unpack(self) -> Trajectory:
        """The trajectory, with its weight."""
        return replace(unpack(self.record), weight=self.weight)


def pack(trajectory: Trajectory) -> EpisodeRecord:
    """Write an episode as bytes; the worker calls it.

    A number that is not finite becomes null and reads back as NaN; half of a surrogate pair becomes a question mark.
    """
    payload = json_line(to_json(trajectory)).encode("utf-8", "replace")
    return EpisodeRecord(
        trajectory.task.episode_id,
        trajectory.task.group,
        trajectory.adapter_version,
        trajectory.adapter_digest,
        trajectory.episode_return,
        len(trajectory.turns),
        trajectory.error,
        payload,
    )


def unpack(record: EpisodeRecord) -> Trajectory:
    """The inverse of `pack`; the learner calls it."""
    return from_json(json.loads(record.payload))


def record_of(payload: bytes) -> EpisodeRecord:
    """The record of an episode's line, as a restarted buffer reads it from a file.

    Raises:
        KeyError, TypeError, ValueError: the line is no whole episode.
    """
    row: dict[str, Any] = json.loads(payload)
    earned = row["return"]
    return EpisodeRecord(
        row["episode_id"],
        row["group"],
        row["adapter_version"],
        row["adapter_digest"],
        math.nan if earned is None else earned,
        len(row["turns"]),
        row["error"],
        payload,
    )
