"""Environment steps per second of a stream against a collector in lockstep, on the tiny model and one core.

Two environments: the grid world, whose step takes microseconds, where a stream has nothing to hide and must not be
slower; and the same grid behind a wait like a network's, 20 ms in the median with a long tail, where lockstep waits for
the slowest of every turn. Both ways play the same episodes under the same fresh adapter, in turns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from _models import Pair, fresh_adapter, load_pair
from _report import Measurement, arguments, measure, report

from olal.agents import PromptAgent
from olal.envs import Environment, GridWorld
from olal.experiments.seeds import training_tasks
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import AdaptiveConcurrency, Collector, EpisodeStream
from olal.types import EpisodeTask, SamplingParams, TimeStep, Trajectory

MEDIAN_S, SIGMA, LONGEST_S = 0.02, 1.0, 1.0


class DistantGrid(GridWorld):
    """The grid world behind a line whose delay is log-normal; it depends on the episode alone."""

    def reset(self, seed: int) -> TimeStep:
        """Start the episode of a seed, and of its delays."""
        self._delays = random.Random(seed)
        return super().reset(seed)

    def step(self, action: Any) -> TimeStep:
        """Wait, then act."""
        time.sleep(min(MEDIAN_S * self._delays.lognormvariate(0.0, SIGMA), LONGEST_S))
        return super().step(action)


class Lockstep:
    """A collector that plays one share of episodes after another."""

    def __init__(self, pair: Pair, make_env: Callable[[], Environment], parallel: int) -> None:
        """Keep an engine of its own, so that its caches are its own."""
        agent, engine = lambda env: PromptAgent(env.instructions), TransformersEngine(pair.policy)
        self._pair, self._collector = pair, Collector(make_env, agent, engine, max_parallel=parallel)

    def play(self, tasks: Sequence[EpisodeTask], version: int) -> list[Trajectory]:
        """Load an adapter and play."""
        self._collector.load_adapter(fresh_adapter(self._pair.policy, version))
        return self._collector.collect(tasks, SamplingParams())


class Streaming:
    """A stream that is offered all episodes at once."""

    def __init__(self, pair: Pair, make_env: Callable[[], Environment], parallel: int) -> None:
        """Keep an engine of its own, so that its caches are its own."""
        agent, engine = lambda env: PromptAgent(env.instructions), TransformersEngine(pair.policy)
        self._pair = pair
        self.stream = EpisodeStream(make_env, agent, engine, concurrency=AdaptiveConcurrency(parallel))

    def play(self, tasks: Sequence[EpisodeTask], version: int) -> list[Trajectory]:
        """Load an adapter and play."""
        self.stream.load_adapter(fresh_adapter(self._pair.policy, version))
        self.stream.offer(tasks)
        played: list[Trajectory] = []
        while len(played) < len(tasks):
            played += self.stream.run(SamplingParams())
        return played


def compare(
    name: str, make_env: Callable[[], Environment], goal: str, *, repeats: int, episodes: int, parallel: int
) -> list[Measurement]:
    """Let both play in turns.

    Args:
        name: of the environment.
        make_env: builds one.
        goal: what the ratio should be.
        repeats: turns of each, of which the median ratio is told; one more comes before, to warm up.
        episodes: of one turn.
        parallel: most episodes at once, the same for both.
    """
    pair = load_pair("tiny")
    lockstep, streaming = Lockstep(pair, make_env, parallel), Streaming(pair, make_env, parallel)
    speeds: list[tuple[float, float]] = []
    for turn in range(1, repeats + 2):
        tasks = training_tasks(0, turn * episodes, episodes)
        pair_of_speeds = steps_per_s(streaming.play, tasks, turn), steps_per_s(lockstep.play, tasks, turn)
        print(
            f"{name}: {pair_of_speeds[0]:.0f} steps/s streaming, {pair_of_speeds[1]:.0f} in lockstep, "
            f"limit {streaming.stream.limit}, engine {streaming.stream.engine_s:.1f} s, "
            f"waiting {streaming.stream.env_wait_s:.1f} s of {streaming.stream.busy_s:.1f} s",
            flush=True,
        )
        speeds.append(pair_of_speeds)
    speeds = speeds[1:]
    return [
        measure(f"{name}_stream_vs_lockstep", median(fast / slow for fast, slow in speeds), "ratio", goal),
        measure(
            f"{name}_env_steps_per_s",
            median(fast for fast, _ in speeds),
            "1/s",
            baseline=median(slow for _, slow in speeds),
        ),
    ]


def steps_per_s(
    play: Callable[[Sequence[EpisodeTask], int], list[Trajectory]], tasks: Sequence[EpisodeTask], version: int
) -> float:
    """Play and count; loading the adapter is part of the time."""
    started = time.perf_counter()
    played = play(tasks, version)
    elapsed = time.perf_counter() - started
    failed = [trajectory.error for trajectory in played if trajectory.error]
    if failed:
        raise RuntimeError(f"{len(failed)} episodes failed, the first with: {failed[0]}")
    return sum(len(trajectory.turns) for trajectory in played) / elapsed


def main() -> None:
    """Compare on both environments."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=256, help="of one turn")
    parser.add_argument("--parallel", type=int, default=64, help="most episodes at once")
    options = parser.parse_args()
    settings = {"repeats": options.repeats, "episodes": options.episodes, "parallel": options.parallel}
    measurements = compare("grid_world", GridWorld, ">= 0.9", **settings)
    measurements += compare("slow_environment", DistantGrid, ">= 2", **settings)
    report(measurements, options.json)


if __name__ == "__main__":
    main()
