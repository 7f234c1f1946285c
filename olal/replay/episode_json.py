"""Trajectories as JSON lines: readable with any tool, complete enough to train on again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

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
        "bootstrap": bootstrap,
        "grammars": grammars,
        "turns": [_turn_to_json(turn) for turn in trajectory.turns],
    }


def from_json(row: dict[str, Any]) -> Trajectory:
    """The inverse of `to_json`."""
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
        duration_s=row["duration_s"],
        bootstrap=None if cut is None else Bootstrap(tuple(cut["prompt_token_ids"]), grammars[cut["grammar"]]),
        error=row["error"],
    )


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
        name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value
        for name, value in cast("dict[str, Any]", row["completion"]).items()
    }
    fields["drafts"] = DraftStatistics(**{name: tuple(counts) for name, counts in fields["drafts"].items()})
    return Turn(
        observation=row["observation"],
        prompt_token_ids=tuple(row["prompt_token_ids"]),
        grammar=grammars[row["grammar"]],
        completion=Completion(**fields),
        reward=row["reward"],
        env_reward=row.get("env_reward"),
    )
