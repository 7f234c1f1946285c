"""Trajectories as JSON lines: readable with any tool, complete enough to train on again.

JSON has no NaN and no infinity: both are written as null, which reads back as NaN where a number must stand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from olal.errors import RunDirectoryInvalid
from olal.types import Bootstrap, Completion, DraftStatistics, EpisodeTask, GrammarSpec, Perturbation, Trajectory, Turn


def to_json(trajectory: Trajectory) -> dict[str, Any]:
    """A trajectory as JSON values; each grammar's text is written once, under its digest."""
    grammars = {turn.grammar.digest: _grammar_to_json(turn.grammar) for turn in trajectory.turns}
    bootstrap = None
    if trajectory.bootstrap is not None:
        grammar = trajectory.bootstrap.grammar
        grammars[grammar.digest] = _grammar_to_json(grammar)
        bootstrap = {"prompt_token_ids": list(trajectory.bootstrap.prompt_token_ids), "grammar": grammar.digest}
    return {
        "episode_id": trajectory.task.episode_id,
        "seed": trajectory.task.seed,
        "group": trajectory.task.group,
        "perturbation": None if trajectory.task.perturbation is None else asdict(trajectory.task.perturbation),
        "adapter_version": trajectory.adapter_version,
        "adapter_digest": trajectory.adapter_digest,
        "return": trajectory.episode_return,
        "terminated": trajectory.terminated,
        "truncated": trajectory.truncated,
        "success": trajectory.success,
        "worker": trajectory.worker,
        "duration_s": trajectory.duration_s,
        "error": trajectory.error,
        "failure": trajectory.failure,
        "reason": trajectory.reason,
        "bootstrap": bootstrap,
        "grammars": grammars,
        "turns": [_turn_to_json(turn) for turn in trajectory.turns],
    }


def from_json(row: dict[str, Any]) -> Trajectory:
    """The inverse of `to_json`.

    Raises:
        KeyError, TypeError, ValueError: the row is no whole episode.
    """
    grammars = {
        digest: GrammarSpec(grammar["text"], tuple(grammar["decisions"])) for digest, grammar in row["grammars"].items()
    }
    cut = row["bootstrap"]
    moved = row.get("perturbation")
    return Trajectory(
        task=EpisodeTask(
            row["episode_id"], row["seed"], row["group"], None if moved is None else Perturbation(**moved)
        ),
        turns=tuple(_turn_from_json(turn, grammars) for turn in row["turns"]),
        terminated=row["terminated"],
        truncated=row["truncated"],
        success=row["success"],
        adapter_version=row["adapter_version"],
        adapter_digest=row["adapter_digest"],
        worker=row["worker"],
        duration_s=_number(row["duration_s"]),
        bootstrap=None if cut is None else Bootstrap(tuple(cut["prompt_token_ids"]), grammars[cut["grammar"]]),
        error=row["error"],
        failure=row.get("failure", ""),
        reason=row.get("reason", ""),
    )


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file of episodes, without a torn last line.

    Raises:
        RunDirectoryInvalid: a line other than the last is no JSON object.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            row = _parse(line)
            if row is not None:
                yield row
            elif line.endswith(b"\n"):
                raise RunDirectoryInvalid(f"every line but the last must be a JSON object: {path}:{number}")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:  # also a torn UTF-8 sequence
        return None
    return cast("dict[str, Any]", row) if isinstance(row, dict) else None


def _grammar_to_json(grammar: GrammarSpec) -> dict[str, Any]:
    return {"text": grammar.text, "decisions": list(grammar.decisions)}


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    return {
        "observation": turn.observation,
        "action": turn.completion.text,
        "reward": turn.reward,
        "env_reward": turn.env_reward,
        "prompt_token_ids": list(turn.prompt_token_ids),
        "grammar": turn.grammar.digest,
        "completion": {
            **{name: getattr(turn.completion, name) for name in Completion.__slots__},
            "drafts": asdict(turn.completion.drafts),
        },
    }


def _turn_from_json(row: dict[str, Any], grammars: dict[str, GrammarSpec]) -> Turn:
    fields: dict[str, Any] = {
        name: _numbers(cast("list[Any]", value)) if isinstance(value, list) else value
        for name, value in cast("dict[str, Any]", row["completion"]).items()
    }
    fields["drafts"] = DraftStatistics(**{name: tuple(counts) for name, counts in fields["drafts"].items()})
    return Turn(
        observation=row["observation"],
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        grammar=grammars[row["grammar"]],
        completion=Completion(**fields),
        reward=_number(row["reward"]),
        env_reward=row.get("env_reward"),
    )


def _number(value: Any) -> Any:
    return math.nan if value is None else value


def _numbers(values: list[Any]) -> tuple[Any, ...]:
    return tuple(map(_number, values)) if None in values else tuple(values)
