"""Pinned: whatever a gymnasium environment does wrong ends its own episode as a data failure with a reason, on both
ways of collecting; one that hangs is left behind and replaced; too many of these end the worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from olal.agents import PromptAgent
from olal.envs import GymnasiumEnv
from olal.errors import EngineFailed, ThreadsExhausted
from olal.rollout import Collector, Deadlines, EpisodeStream
from olal.types import EpisodeTask, SamplingParams, Trajectory

SAMPLING = SamplingParams(1.0, 16)
GOOD = (1, 0.5, False, False, {})
BAD_SEED = 13


class Faulty(gymnasium.Env):
    """Three steps; in the episode of one seed, reset or the second step does what it was built with."""

    action_space = spaces.Discrete(2)

    def __init__(self, reset: Any = None, step: Any = None, observation_space: Any = None) -> None:
        self.observation_space = observation_space or spaces.Discrete(4)
        self._bad_reset, self._bad_step = reset, step
        self._first = self.observation_space.sample() if observation_space else 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.is_bad, self.turn = seed == BAD_SEED, 0
        return self._bad_reset() if self.is_bad and self._bad_reset else (self._first, {})

    def step(self, action: Any) -> Any:
        self.turn += 1
        if self.is_bad and self.turn == 2 and self._bad_step:
            return self._bad_step()
        return self._first, 1.0, self.turn == 3, False, {}


def fail(error: BaseException) -> Callable[[], Any]:
    def act() -> Any:
        raise error

    return act


def answer(*result: Any) -> Callable[[], Any]:
    return lambda: result


@pytest.fixture(params=["collector", "stream"])
def play(request: pytest.FixtureRequest, scripted_engine: Any) -> Iterator[Callable[..., list[Trajectory]]]:
    """Play seeds on one of the two ways; trajectories in the order of the seeds."""
    made: list[Any] = []

    def make(make_env: Callable[[], Any], *seeds: int, engine: Any = None, limits: Any = None) -> list[Trajectory]:
        kind = Collector if request.param == "collector" else EpisodeStream
        engine = engine or scripted_engine(say=lambda request: "1")
        player: Any = kind(
            lambda: GymnasiumEnv(make_env()), lambda env: PromptAgent(env.instructions), engine, limits=limits
        )
        made.append(player)
        tasks = [EpisodeTask(i, seed) for i, seed in enumerate(seeds)]
        if isinstance(player, Collector):
            return player.collect(tasks, SAMPLING)
        player.offer(tasks)
        played: list[Trajectory] = []
        while len(played) < len(tasks):
            played += player.run(SAMPLING, for_s=5.0)
        return sorted(played, key=lambda one: one.task.episode_id)

    yield make
    for player in made:
        player.close()


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
NESTED = spaces.Dict({"pair": spaces.Tuple((spaces.Discrete(2), BOX)), "word": spaces.Text(3)})
FAULTS = {
    "reset raises": ({"reset": fail(OSError("no route"))}, "env_raised"),
    "reset returns one value": ({"reset": lambda: 1}, "bad_step"),
    "reset returns an observation outside": ({"reset": answer(7, {})}, "bad_observation"),
    "step raises": ({"step": fail(KeyError("lost"))}, "env_raised"),
    "step exits": ({"step": fail(SystemExit(1))}, "env_raised"),
    "four values": ({"step": answer(1, 0.5, True, {})}, "bad_step"),
    "six values": ({"step": answer(*GOOD, None)}, "bad_step"),
    "no tuple": ({"step": lambda: None}, "bad_step"),
    "a flag that is none": ({"step": answer(1, 0.5, None, False, {})}, "bad_step"),
    "an info that is none": ({"step": answer(1, 0.5, True, False, None)}, "bad_step"),
    "reward nan": ({"step": answer(1, float("nan"), False, False, {})}, "bad_reward"),
    "reward infinite": ({"step": answer(1, np.float64("-inf"), False, False, {})}, "bad_reward"),
    "reward complex": ({"step": answer(1, 1j, False, False, {})}, "bad_reward"),
    "reward text": ({"step": answer(1, "1", False, False, {})}, "bad_reward"),
    "reward none": ({"step": answer(1, None, False, False, {})}, "bad_reward"),
    "reward array": ({"step": answer(1, np.ones(1), False, False, {})}, "bad_reward"),
    "observation outside": ({"step": answer(4, 0.5, False, False, {})}, "bad_observation"),
    "observation none": ({"step": answer(None, 0.5, False, False, {})}, "bad_observation"),
    "box of another shape": (
        {"step": answer(np.zeros(3, np.float32), 0.5, False, False, {}), "observation_space": BOX},
        "bad_observation",
    ),
    "box beyond its bounds": (
        {"step": answer([0, 2.0], 0.5, False, False, {}), "observation_space": BOX},
        "bad_observation",
    ),
    "box of nan": ({"step": answer([0, np.nan], 0.5, False, False, {}), "observation_space": BOX}, "bad_observation"),
    "a key is missing": (
        {"step": answer({"word": "a"}, 0.5, False, False, {}), "observation_space": NESTED},
        "bad_observation",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_an_environment_does_wrong_fails_its_own_episode_alone(play: Any, fault: str) -> None:
    script, reason = FAULTS[fault]

    one, bad, other = play(lambda: Faulty(**script), 1, BAD_SEED, 2)

    assert (one.error, len(one.turns)) == (other.error, len(other.turns)) == ("", 3)
    assert (bad.failure, bad.reason) == ("data", reason)
    assert bad.error
    assert "\n" not in bad.error
    assert len(bad.turns) == ("step" in script)
    assert bad.bootstrap is None


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        (BOX, np.array([0.5, -1.0])),
        (BOX, [0, 1]),
        (spaces.Box(0, 255, (2,), np.uint8), [0, 255]),
        (spaces.Discrete(3, start=2), np.int64(4)),
        (spaces.MultiDiscrete([2, 3]), (1, 2)),
        (spaces.MultiBinary(2), np.array([True, False])),
        (spaces.Text(10), "you see: a"),
        (NESTED, {"pair": (1, [0.0, 0.5]), "word": "a b", "more": 3}),
    ],
)
def test_an_observation_may_be_of_another_number_type(play: Any, space: Any, observation: Any) -> None:
    script = {"step": answer(observation, 0.5, False, False, {}), "observation_space": space}

    [played] = play(lambda: Faulty(**script), BAD_SEED)

    assert (played.error, len(played.turns)) == ("", 3)


@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_environment_that_hangs_is_left_behind(play: Any, where: str) -> None:
    release = threading.Event()
    made: list[Faulty] = []

    def make() -> Faulty:
        made.append(Faulty(**{where: release.wait}))
        return made[-1]

    started = time.monotonic()
    played = play(make, 1, BAD_SEED, 2, 3, limits=Deadlines(step_s=0.2))

    assert time.monotonic() - started < 5.0
    assert [(one.failure, one.reason) for one in played] == [("", ""), ("data", "env_timeout"), ("", ""), ("", "")]
    assert all(len(one.turns) == 3 for one in played if not one.error)
    assert "rollout.step_timeout_s" in played[1].error
    release.set()


def test_environments_that_all_hang_end_the_worker(play: Any) -> None:
    release = threading.Event()

    with pytest.raises(ThreadsExhausted, match="threads left behind: 3"):
        play(lambda: Faulty(step=release.wait), *[BAD_SEED] * 5, limits=Deadlines(step_s=0.1, most_abandoned=3))

    release.set()


def test_a_whole_episode_has_a_deadline_too(play: Any) -> None:
    def slow() -> Any:
        time.sleep(0.3)
        return 1, 0.5, False, False, {}

    one, bad = play(lambda: Faulty(step=slow), 1, BAD_SEED, limits=Deadlines(step_s=5.0, episode_s=0.15))

    assert one.error == ""
    assert (bad.failure, bad.reason) == ("data", "episode_timeout")


def test_an_engine_that_raises_ends_the_worker(play: Any, scripted_engine: Any) -> None:
    calls: list[int] = []

    def say(request: Any) -> str:
        calls.append(1)
        if len(calls) == 7:
            raise OSError("the device is gone")
        return "1"

    with pytest.raises(EngineFailed, match="the device is gone"):
        play(Faulty, *range(5), engine=scripted_engine(say=say))


class Napping(Faulty):
    """The episode of seed 1 takes 0.2 s for its third step, that of seed 2 takes 0.3 s for its second."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.seed = seed
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        time.sleep({(1, 2): 0.2, (2, 1): 0.3}.get((self.seed, self.turn), 0.0))
        return super().step(action)


def test_an_episode_is_not_late_for_having_waited_for_others(play: Any) -> None:
    played = play(Napping, 1, 2, limits=Deadlines(step_s=5.0, episode_s=0.42))

    assert [one.error for one in played] == ["", ""]
