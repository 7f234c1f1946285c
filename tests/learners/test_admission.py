"""Pinned: whatever would poison an adapter is dropped with its reason, counted, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.adapters import Checkpoint
from olal.errors import AdapterMismatch, CheckpointCorrupt
from olal.grammar import choice_grammar
from olal.learners.base import Learner
from olal.types import EpisodeTask, Perturbation, Trajectory

Make = Callable[..., Learner]
Answer = Callable[..., list[Trajectory]]
ABC = choice_grammar(["a", "b", "c"])


def with_completion(trajectory: Trajectory, **changes: Any) -> Trajectory:
    turn = trajectory.turns[0]
    return replace(trajectory, turns=(replace(turn, completion=replace(turn.completion, **changes)),))


def with_turn(trajectory: Trajectory, **changes: Any) -> Trajectory:
    return replace(trajectory, turns=(replace(trajectory.turns[0], **changes),))


FAULTS: dict[str, tuple[str, Callable[[Trajectory], Trajectory]]] = {
    "nan reward": ("bad_reward", lambda one: with_turn(one, reward=math.nan)),
    "infinite reward": ("bad_reward", lambda one: with_turn(one, reward=-math.inf)),
    "failed": ("failed", lambda one: replace(one, error="the coin rolled under the table")),
    "another tokenizer's prompt": ("foreign_base", lambda one: with_turn(one, prompt_token_ids=(1, 10**6))),
    "no prompt": ("foreign_base", lambda one: with_turn(one, prompt_token_ids=())),
    "another tokenizer's action": ("foreign_base", lambda one: with_completion(one, token_ids=(-1, 2))),
    "ragged": ("malformed", lambda one: with_completion(one, forced=())),
    "no log-probabilities": ("missing_logprobs", lambda one: with_completion(one, logprobs=())),
    "nan log-probability": (
        "missing_logprobs",
        lambda one: with_completion(one, logprobs=(math.nan,) * len(one.turns[0].completion.logprobs)),
    ),
    "another adapter": ("foreign_adapter", lambda one: replace(one, adapter_digest="0123456789abcdef")),
    "a version to come": ("foreign_adapter", lambda one: replace(one, adapter_version=7)),
    "a member of a population": (
        "foreign_adapter",
        lambda one: replace(one, task=replace(one.task, perturbation=Perturbation(7, 0.1))),
    ),
    "stale": ("stale", lambda one: replace(one, adapter_version=-9)),
}


@pytest.fixture
def good(answer: Answer) -> list[Trajectory]:
    return answer(ABC, lambda text: float(text == "a"), prompts=[(20, 30), (22,)], episodes=24)


@pytest.mark.parametrize(("reason", "spoil"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("kind", ["ppo", "grpo", "rwr", "simpo", "value", "mezo"])
def test_a_bad_trajectory_is_dropped_by_name_and_leaves_no_trace(
    make_learner: Make, good: list[Trajectory], kind: str, reason: str, spoil: Callable[[Trajectory], Trajectory]
) -> None:
    clean, exposed = make_learner(kind), make_learner(kind)
    clean.update(good)

    step = exposed.update([spoil(good[0]), *good])

    assert step.metrics[f"dropped_{reason}"] == 1
    assert [name for name in step.metrics if name.startswith("dropped_")] == [f"dropped_{reason}"]
    assert step.update.digest == clean.current().digest


def test_fine_tuning_needs_no_log_probabilities(make_learner: Make, good: list[Trajectory]) -> None:
    bare = [with_completion(one, logprobs=(), log_legal_mass=()) for one in good]
    clean, other = make_learner("sft"), make_learner("sft")
    clean.update(good)

    step = other.update(bare)

    assert step.update.digest == clean.current().digest
    assert all(math.isfinite(value) for value in step.metrics.values())


def test_a_batch_of_which_nothing_is_left_is_an_alarm_and_no_change(make_learner: Make, good: list[Trajectory]) -> None:
    learner = make_learner("ppo")
    before = learner.current().digest

    step = learner.update([with_turn(one, reward=math.nan) for one in good])

    assert step.alarms == {"nothing_admitted": "all 24 trajectories were dropped (24 bad_reward); nothing is learned"}
    assert (step.update.version, step.update.digest) == (1, before)


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_a_group_of_one_is_dropped(make_learner: Make, good: list[Trajectory], kind: str) -> None:
    grouped = [replace(one, task=EpisodeTask(i, i, group=i // 4)) for i, one in enumerate(good)]
    clean, other = make_learner(kind), make_learner(kind)
    clean.update(grouped)

    step = other.update([*grouped, replace(good[0], task=EpisodeTask(99, 0, group=99))])

    assert step.metrics["dropped_group_of_one"] == 1
    assert step.update.digest == clean.current().digest


def test_what_was_published_is_known_after_a_restart(make_learner: Make, good: list[Trajectory]) -> None:
    learner, restarted = make_learner("ppo"), make_learner("ppo")
    first = learner.current().digest
    second = learner.update(good).update.digest
    restarted.restore(learner.checkpoint())
    told = [replace(good[0], adapter_digest=first), replace(good[1], adapter_version=1, adapter_digest=second)]
    lies = [replace(good[0], adapter_digest=second), replace(good[1], adapter_version=1, adapter_digest=first)]

    metrics = restarted.update([*told, *lies, *good]).metrics

    assert metrics["dropped_foreign_adapter"] == 2


@pytest.mark.parametrize("kind", ["ppo", "mezo"])
def test_an_adapter_of_another_layout_is_refused_and_changes_nothing(make_learner: Make, kind: str) -> None:
    learner = make_learner(kind)
    saved = learner.checkpoint()

    with pytest.raises(AdapterMismatch, match="must be float32 of shape"):
        learner.restore(Checkpoint(3, np.zeros(7, np.float32), saved.arrays, saved.state))

    assert learner.version == 0
    assert np.array_equal(learner.current().flat, saved.flat)


@pytest.mark.parametrize(("kind", "other"), [("ppo", "grpo"), ("mezo", "grpo"), ("mezo", "ppo")])
def test_a_checkpoint_of_another_learner_is_refused(make_learner: Make, kind: str, other: str) -> None:
    with pytest.raises(CheckpointCorrupt, match="another kind of learner"):
        make_learner(kind).restore(make_learner(other).checkpoint())
