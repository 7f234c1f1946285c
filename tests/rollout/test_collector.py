"""Pinned: episodes run in lockstep, one batch a turn; what an environment raises ends its own episode and no other;
only a cut episode is continued by a bootstrap; draws are seeded by task and turn, never by company.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import Collector, outcome_of
from olal.types import AdapterUpdate, EpisodeTask, SamplingParams

Staged = Callable[..., Any]
Tasks = Callable[..., list[EpisodeTask]]

SAMPLING = SamplingParams(0.8, 16)


def test_episodes_run_in_lockstep_and_come_back_in_order(stage: Staged, tasks: Tasks) -> None:
    on = stage({1: 1, 2: 3, 3: 2})

    trajectories = on.collector.collect(tasks(1, 2, 3), SAMPLING)

    asked = [["".join(map(chr, one.prompt_token_ids)) for one in batch] for batch in on.engine.batches]
    assert asked == [["s1t0", "s2t0", "s3t0"], ["s2t1", "s3t1"], ["s2t2"]]
    assert [trajectory.task for trajectory in trajectories] == tasks(1, 2, 3)
    assert [len(trajectory.turns) for trajectory in trajectories] == [1, 3, 2]


def test_a_turn_holds_what_was_seen_said_and_paid(stage: Staged, tasks: Tasks) -> None:
    on = stage({5: 2}, reward=0.25)

    [trajectory] = on.collector.collect(tasks(5), SAMPLING)

    assert [turn.observation for turn in trajectory.turns] == ["s5t0", "s5t1"]
    assert [turn.prompt_token_ids for turn in trajectory.turns] == [tuple(map(ord, text)) for text in ("s5t0", "s5t1")]
    assert [turn.grammar.text for turn in trajectory.turns] == ['{"5":0}', '{"5":1}']
    assert [turn.completion.text for turn in trajectory.turns] == ["go", "go"]
    assert trajectory.episode_return == 0.5
    assert trajectory.success is True
    assert (trajectory.adapter_version, trajectory.adapter_digest, trajectory.worker) == (3, "d3", 7)
    assert on.envs[0].actions == ["GO", "GO"]
    assert all(request.sampling is SAMPLING for batch in on.engine.batches for request in batch)


@pytest.mark.parametrize(
    ("flags", "is_continued"),
    [
        ({"terminated": True}, False),
        ({"truncated": True}, True),
        ({"truncated": True, "terminated": True}, False),
    ],
    ids=["terminated", "truncated", "both"],
)
def test_only_a_cut_episode_has_a_bootstrap(
    stage: Staged, tasks: Tasks, flags: dict[str, bool], is_continued: bool
) -> None:
    [trajectory] = stage({1: 2}, ending={1: flags}).collector.collect(tasks(1), SAMPLING)

    assert trajectory.terminated == flags.get("terminated", False)
    assert trajectory.truncated == flags.get("truncated", False)
    if is_continued:
        assert trajectory.bootstrap.prompt_token_ids == tuple(map(ord, "s1t2"))
        assert trajectory.bootstrap.grammar.text == '{"1":2}'
    else:
        assert trajectory.bootstrap is None


@pytest.mark.parametrize(
    ("where", "turn", "num_turns"),
    [("reset", 0, 0), ("action_grammar", 0, 0), ("action_grammar", 1, 0), ("step", 2, 1)],
)
def test_an_environment_that_raises_ends_its_own_episode_alone(
    stage: Staged, tasks: Tasks, where: str, turn: int, num_turns: int
) -> None:
    on = stage({1: 3, 2: 3, 3: 3}, fails={2: (where, turn)})

    one, broken, other = on.collector.collect(tasks(1, 2, 3), SAMPLING)

    assert (one.error, len(one.turns)) == (other.error, len(other.turns)) == ("", 3)
    assert broken.error == f"RuntimeError: broke in {where}"
    assert len(broken.turns) == num_turns
    assert broken.bootstrap is None
    assert outcome_of(broken).error


def test_a_broken_environment_is_closed_and_replaced(stage: Staged, tasks: Tasks) -> None:
    on = stage({1: 2, 2: 2, 3: 2}, fails={2: ("step", 1)})

    on.collector.collect(tasks(1, 2, 3), SAMPLING)
    on.collector.collect(tasks(3, 1, 3), SAMPLING)

    assert [env.resets for env in on.envs] == [[1, 3], [2], [3, 1], [3]]
    assert [env.num_closed for env in on.envs] == [0, 1, 0, 0]
    on.collector.close()
    assert [env.num_closed for env in on.envs] == [1, 1, 1, 1]


def test_every_episode_may_break(stage: Staged, tasks: Tasks) -> None:
    on = stage({1: 2, 2: 2}, fails={1: ("reset", 0), 2: ("reset", 0)})

    trajectories = on.collector.collect(tasks(1, 2), SAMPLING)

    assert all(trajectory.error and not trajectory.turns for trajectory in trajectories)
    assert on.engine.batches == []


def test_an_answer_that_cannot_be_read_fails_its_episode(
    stage: Staged, scripted_engine: Callable[..., Any], tasks: Tasks
) -> None:
    engine = scripted_engine(say=lambda request: "no" if request.prompt_token_ids[1] == ord("2") else "go")

    one, broken = stage({1: 1, 2: 1}, engine=engine).collector.collect(tasks(1, 2), SAMPLING)

    assert one.error == ""
    assert broken.error == "GrammarError: not an action: no"


def test_a_cut_answer_is_never_played(stage: Staged, scripted_engine: Callable[..., Any], tasks: Tasks) -> None:
    on = stage({1: 2}, engine=scripted_engine(stop_reason="length"))

    [trajectory] = on.collector.collect(tasks(1), SAMPLING)

    assert "cut after 2 tokens" in trajectory.error
    assert on.envs[0].actions == []
    assert outcome_of(trajectory).num_invalid == 1


@pytest.mark.parametrize("reward", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_fails_its_episode(stage: Staged, tasks: Tasks, reward: float) -> None:
    [trajectory] = stage({1: 2}, reward=reward).collector.collect(tasks(1), SAMPLING)

    assert "finite" in trajectory.error
    assert np.isfinite(trajectory.episode_return)


def test_an_episode_that_ends_at_its_reset_has_no_turns(stage: Staged, tasks: Tasks) -> None:
    on = stage({1: 0, 2: 1})

    over, played = on.collector.collect(tasks(1, 2), SAMPLING)

    assert (over.turns, over.terminated, over.error) == ((), True, "")
    assert len(played.turns) == 1


def test_no_more_episodes_run_at_once_than_allowed(stage: Staged, tasks: Tasks) -> None:
    on = stage(dict.fromkeys(range(5), 2), max_parallel=2)

    trajectories = on.collector.collect(tasks(*range(5)), SAMPLING)

    assert [len(batch) for batch in on.engine.batches] == [2, 2, 2, 2, 1, 1]
    assert [env.resets for env in on.envs] == [[0, 2, 4], [1, 3]]
    assert [trajectory.task.seed for trajectory in trajectories] == [0, 1, 2, 3, 4]


def test_nothing_to_play_is_played(stage: Staged) -> None:
    assert stage({}).collector.collect([], SAMPLING) == []


def test_seeds_differ_by_task_and_turn_and_not_by_company(stage: Staged, tasks: Tasks) -> None:
    on, alone = stage({1: 3, 2: 3, 3: 3}), stage({2: 3})

    on.collector.collect(tasks(1, 2, 3), SAMPLING)
    alone.collector.collect(tasks(1, 2, 3)[1:2], SAMPLING)

    seeds = [[request.seed for request in batch] for batch in on.engine.batches]
    assert len({seed for batch in seeds for seed in batch}) == 9
    assert [[request.seed for request in batch] for batch in alone.engine.batches] == [[batch[1]] for batch in seeds]


def test_an_adapter_is_loaded_when_it_is_another(stage: Staged, tasks: Tasks) -> None:
    on, flat = stage({1: 1}), np.zeros(1, np.float32)

    for version, digest in ((3, "d3"), (4, "d4"), (4, "d4"), (5, "d4"), (5, "d5")):
        on.collector.load_adapter(AdapterUpdate(version, digest, flat))
    [trajectory] = on.collector.collect(tasks(1), SAMPLING)

    assert on.engine.loaded == [4, 5, 5]
    assert (trajectory.adapter_version, trajectory.adapter_digest) == (5, "d5")


def test_an_episode_takes_until_its_own_end(stage: Staged, scripted_engine: Callable[..., Any], tasks: Tasks) -> None:
    now = [100.0]

    def say(request: Any) -> str:
        now[0] += 1.0
        return "go"

    on = stage({1: 1, 2: 3}, engine=scripted_engine(say=say), clock=lambda: now[0])
    short, long = on.collector.collect(tasks(1, 2), SAMPLING)

    assert (short.duration_s, long.duration_s) == (2.0, 4.0)


def test_real_episodes_do_not_depend_on_their_company(tiny_engine: Any) -> None:
    tasks = [EpisodeTask(i, 50 + i) for i in range(9)]

    def play(order: list[EpisodeTask], max_parallel: int) -> dict[int, Any]:
        on = Collector(
            lambda: make_env("gridworld", {"max_moves": 2, "max_turns": 4}),
            lambda env: PromptAgent(env.instructions),
            TransformersEngine(tiny_engine),
            max_parallel=max_parallel,
        )
        played = on.collect(order, SAMPLING)
        return {one.task.episode_id: [(turn.completion.token_ids, turn.reward) for turn in one.turns] for one in played}

    together = play(tasks, 256)

    assert play(tasks[::-1], 4) == together
    assert play(tasks[4:5], 1) == {4: together[4]}
