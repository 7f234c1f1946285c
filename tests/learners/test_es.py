"""Pinned: the step is the one of evolution strategies, spelled out; members play the same episodes with the same draws
and differ by the adapter alone; returns of anyone else do not count; a restart goes on bit for bit; returns alone teach
a bandit's arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from olal.adapters import AdapterFollower, SeedSpace, encode_delta
from olal.agents import PromptAgent
from olal.experiments.seeds import population_tasks, training_tasks
from olal.grammar import ActionGrammar, choice_grammar
from olal.inference.transformers_engine import TransformersEngine
from olal.learners.admission import Gate
from olal.learners.es import ESLearner, ESSettings, shape_returns
from olal.learners.schedule import LinearDecay
from olal.models.policy_network import PolicyNetwork
from olal.rollout import Collector
from olal.types import EpisodeTask, Perturbation, SamplingParams, TimeStep, Trajectory, Turn

MakeES = Callable[..., ESLearner]
Episodes = Callable[..., list[Trajectory]]
ABC = choice_grammar(["a", "b", "c"])


@dataclass
class Bandit:
    """Three arms, of which one pays; which one is told by the observation."""

    instructions: str = "Pull an arm."
    max_turns: int = 1
    seed: int = 0

    def reset(self, seed: int) -> TimeStep:
        self.seed = seed
        return TimeStep("arms: a b c")

    def action_grammar(self) -> ActionGrammar:
        return ActionGrammar(ABC, str, str)

    def step(self, action: str) -> TimeStep:
        return TimeStep("", float(action == "b"), terminated=True)

    def close(self) -> None:
        return None


@pytest.fixture
def collector(tiny_engine: PolicyNetwork) -> Collector:
    space = SeedSpace(tiny_engine.bank.layout, tiny_engine.bank.initial, subspace="b")
    return Collector(
        Bandit,  # pyright: ignore[reportArgumentType]
        lambda env: PromptAgent(env.instructions),
        TransformersEngine(tiny_engine),
        follower=AdapterFollower(space),
    )


@pytest.fixture
def make_es(tiny_learner: PolicyNetwork) -> Callable[..., ESLearner]:
    def make(*, seed: int = 0, rate: float = 0.05, **settings: Any) -> ESLearner:
        bank = tiny_learner.bank
        space = SeedSpace(bank.layout, bank.initial, subspace="b")
        return ESLearner(tiny_learner, ESSettings(**settings), LinearDecay(rate, 1.0, 1), seed=seed, space=space)

    return make


@pytest.fixture
def episodes(make_turn: Callable[..., Turn]) -> Callable[..., list[Trajectory]]:
    """One episode of every member, each with a return of its own."""
    turn = make_turn(ABC, "a")

    def play(learner: ESLearner, pay: Sequence[float], **changes: Any) -> list[Trajectory]:
        fields: dict[str, Any] = {"terminated": True, "truncated": False, "success": None, "adapter_digest": ""}
        fields |= {"adapter_version": learner.version} | changes
        return [
            Trajectory(EpisodeTask(i, i, 0, member), (replace(turn, reward=float(reward)),), **fields)
            for i, (member, reward) in enumerate(zip(learner.members(), pay, strict=True))
        ]

    return play


@pytest.mark.parametrize(
    ("returns", "shaping", "expected"),
    [
        ([3.0, 9.0, 4.0], "ranks", [-1.0, 1.0, 0.0]),
        ([5.0, 5.0, 9.0, 1.0], "ranks", [0.0, 0.0, 1.5, -1.5]),
        ([1.0, 3.0], "zscore", [-1.0, 1.0]),
        ([0.0, 0.0, 3.0], "zscore", [-1.0, -1.0, 2.0]),
    ],
)
def test_returns_are_shaped(returns: list[float], shaping: Any, expected: list[float]) -> None:
    shaped = shape_returns(np.array(returns), shaping)

    scale = np.std(expected)
    assert shaped.tolist() == pytest.approx([value / scale for value in expected])


@pytest.mark.parametrize("shaping", ["ranks", "zscore"])
def test_a_step_is_the_one_of_evolution_strategies(make_es: MakeES, episodes: Episodes, shaping: Any) -> None:
    learner = make_es(directions=4, shaping=shaping, rate=0.2)
    members, pay = learner.members(), [0.1, 0.9, 2.0, -1.0, 0.5, 0.4, 0.0, 3.0]

    step = learner.update(episodes(learner, pay))

    utilities = shape_returns(np.array(pay), shaping)
    expected = np.zeros(len(step.update.flat))
    for member, utility in zip(members, utilities, strict=True):
        direction = learner.space.subspace.direction(member.seed, 0, len(expected))
        expected += 0.2 / 4 / 2 * utility * np.sign(member.coefficient) * direction
    assert step.update.flat - learner.space.anchor == pytest.approx(expected, abs=1e-6)
    assert len(encode_delta(step.delta)) <= 12 * 4 + 64


def test_members_are_pairs_of_one_direction_and_new_with_every_version(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=3, sigma=0.25)
    members = learner.members()
    learner.update(episodes(learner, range(6)))

    assert [member.coefficient for member in members] == [0.25, -0.25] * 3
    assert [member.seed for member in members[::2]] == [member.seed for member in members[1::2]]
    assert len({member.seed for member in (*members, *learner.members())}) == 6


FAULTS: dict[str, Callable[[Trajectory], Trajectory]] = {
    "foreign_adapter": lambda one: replace(one, adapter_version=7),
    "stale": lambda one: replace(one, adapter_version=-1),
    "failed": lambda one: replace(one, error="broke"),
    "bad_reward": lambda one: replace(one, turns=(replace(one.turns[0], reward=math.nan),)),
    "foreign_base": lambda one: replace(one, turns=(replace(one.turns[0], prompt_token_ids=(10**6,)),)),
}
STRANGERS: list[Callable[[Trajectory], Trajectory]] = [
    lambda one: replace(one, adapter_digest="0123456789abcdef"),
    lambda one: replace(one, task=replace(one.task, perturbation=Perturbation(5, 0.05))),
    lambda one: replace(one, task=replace(one.task, perturbation=None)),
]


@pytest.mark.parametrize(
    ("reason", "spoil"), [*FAULTS.items(), *(("foreign_adapter", stranger) for stranger in STRANGERS)]
)
def test_whatever_is_no_whole_episode_of_a_member_is_dropped_by_name_and_leaves_no_trace(
    make_es: MakeES, episodes: Episodes, reason: str, spoil: Callable[[Trajectory], Trajectory]
) -> None:
    clean, exposed = make_es(directions=2), make_es(directions=2)
    good = episodes(clean, [1.0, 2.0, 5.0, 3.0])

    step = exposed.update([spoil(good[0]), *good])

    assert {name: value for name, value in step.metrics.items() if name.startswith("dropped_")} == {
        f"dropped_{reason}": 1
    }
    assert step.update.digest == clean.update(good).update.digest != clean.space.anchor_digest


def test_a_batch_of_which_nothing_is_left_is_an_alarm_and_no_change(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=2, anchor_decay=0.5)

    step = learner.update(episodes(learner, range(4), error="broke"))

    assert step.alarms == {"nothing_admitted": "all 4 trajectories were dropped (4 failed); nothing is learned"}
    assert (step.update.version, step.update.digest) == (1, learner.space.anchor_digest)
    assert len(step.delta.records) == 0


def test_directions_of_which_one_sign_is_missing_everywhere_are_an_alarm(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=2)

    step = learner.update(episodes(learner, range(4))[::2])

    assert set(step.alarms) == {"no_pair"}
    assert (step.metrics["directions_used"], step.update.digest) == (0, learner.space.anchor_digest)


@pytest.mark.parametrize(
    ("pay", "alarm"),
    [([1.0] * 4, "advantages_zero"), ([1.0, 1.0, 2.0, 2.0], "loss_plus_is_loss_minus"), ([1.0, 2.0, 2.0, 2.0], None)],
)
def test_returns_that_tell_no_direction_are_an_alarm(
    make_es: MakeES, episodes: Episodes, pay: list[float], alarm: str | None
) -> None:
    learner = make_es(directions=2, shaping="zscore")

    step = learner.update(episodes(learner, pay))

    assert set(step.alarms) == ({alarm} if alarm else set())
    assert (step.update.digest == learner.space.anchor_digest) == bool(alarm)


def test_a_step_below_the_rounding_of_the_weights_is_an_alarm(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=2, rate=1e-20)

    assert set(learner.update(episodes(learner, range(4))).alarms) == {"update_below_rounding"}


def test_an_update_that_is_not_finite_is_refused(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=2, rate=math.inf)

    step = learner.update(episodes(learner, range(4)))

    assert "refused" in step.alarms["non_finite"]
    assert (step.update.version, step.update.digest) == (1, learner.space.anchor_digest)
    assert (step.delta.digest, len(step.delta.records)) == (learner.space.anchor_digest, 0)


def test_a_direction_with_one_sign_missing_is_left_out(make_es: MakeES, episodes: Episodes) -> None:
    learner = make_es(directions=3)
    seeds = [member.seed for member in learner.members()[::2]]

    step = learner.update(episodes(learner, range(6))[:3] + episodes(learner, range(6))[4:])

    assert step.delta.records["seed"].tolist() == [seeds[0], seeds[2]]


def test_a_restart_goes_on_bit_for_bit(make_es: MakeES, episodes: Episodes) -> None:
    learner, restarted = make_es(directions=2, anchor_decay=0.1), make_es(directions=2, anchor_decay=0.1, seed=9)
    learner.update(episodes(learner, [1.0, 2.0, 5.0, 3.0]))

    restarted.restore(learner.checkpoint())

    assert restarted.members() == learner.members()
    pay = [0.0, 3.0, 1.0, 8.0]
    one, other = (each.update(episodes(each, pay)).update for each in (learner, restarted))
    assert (one.version, one.digest) == (other.version, other.digest) == (2, other.digest)


def test_members_that_do_not_differ_play_alike(collector: Collector) -> None:
    members = [Perturbation(seed, sign * 1e-9) for seed in (1, 2) for sign in (1, -1)]
    tasks = population_tasks(0, 0, 32, members)

    played = collector.collect(tasks, SamplingParams(2.0, 8))

    texts = [trajectory.turns[0].completion.text for trajectory in played]
    assert texts[:8] == texts[8:16] == texts[16:24] == texts[24:]
    assert len(set(texts[:8])) > 1
    assert len({trajectory.adapter_digest for trajectory in played}) == 4
    assert [trajectory.task.perturbation for trajectory in played[::8]] == members


def test_a_member_plays_as_the_adapter_that_it_is(collector: Collector, tiny_engine: PolicyNetwork) -> None:
    member = Perturbation(3, 0.3)
    space = SeedSpace(tiny_engine.bank.layout, tiny_engine.bank.initial, subspace="b")

    tasks = population_tasks(0, 0, 40, [member, Perturbation(3, -0.3)])
    played = collector.collect(tasks, SamplingParams(2.0, 8))

    alone = AdapterFollower(space).member(member)
    collector.load_adapter(alone)
    plain = [replace(task, episode_id=task.group, perturbation=None) for task in tasks[:20]]
    expected = collector.collect(plain, SamplingParams(2.0, 8))
    assert [one.adapter_digest for one in played[:20]] == [alone.digest] * 20
    for one, other in zip(played, expected, strict=False):
        assert one.turns[0].completion.text == other.turns[0].completion.text
        assert one.turns[0].completion.logprobs == pytest.approx(other.turns[0].completion.logprobs, abs=1e-5)


def test_members_are_unloaded_after_they_played(collector: Collector) -> None:
    digest = collector._engine.adapter_digest

    collector.collect(population_tasks(0, 0, 8, [Perturbation(3, 0.3), Perturbation(3, -0.3)]), SamplingParams())

    assert list(collector._engine._adapters._slots) == [digest]
    assert collector.collect(training_tasks(0, 0, 1), SamplingParams())[0].adapter_digest == digest


def test_episodes_of_members_are_not_on_policy_data_of_another_learner(
    collector: Collector, make_learner: Callable[..., Any], tiny_engine: PolicyNetwork
) -> None:
    played = collector.collect(population_tasks(0, 0, 8, [Perturbation(3, 0.3)]), SamplingParams())
    digest = tiny_engine.bank.layout.digest(tiny_engine.bank.initial)

    assert set(Gate(0, 0, 10_000, {0: digest}).admit(played).dropped) == {"foreign_adapter"}
    mezo = make_learner("mezo")
    assert mezo.update(played).metrics["num_decisions"] == 0


def test_a_bandit_is_learned_from_returns_alone(collector: Collector, make_es: Callable[..., ESLearner]) -> None:
    learner = make_es(directions=8, sigma=0.1, rate=0.05)
    returns = []
    for number in range(30):
        tasks = population_tasks(0, 128 * number, 128, learner.members())
        played = collector.collect(tasks, SamplingParams(1.0, 8))
        returns.append(float(np.mean([trajectory.episode_return for trajectory in played])))
        step = learner.update(played)
        assert step.delta is not None
        collector.follow([step.update, (encode_delta(step.delta),), encode_delta(step.delta)], lambda thing: thing)

    assert collector._engine.adapter_digest == learner.current().digest
    assert collector.follow([step.update], lambda thing: thing).rebuilt == 30
    assert np.mean(returns[-5:]) > returns[0] + 0.2
