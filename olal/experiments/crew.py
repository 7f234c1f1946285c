"""Crew: the actors of a run, created, checked and spoken to as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from olal.actors import LearnerActor, LearnerReport, ReplayActor, ReplayStatus, RolloutActor, RolloutReport
from olal.config import RunConfig
from olal.errors import ClusterError, OlalError, RunFailed
from olal.experiments.build import build_collector
from olal.experiments.build_learner import build_learner
from olal.experiments.build_replay import build_replay
from olal.experiments.cluster import Placement
from olal.rollout import EpisodeOutcome
from olal.types import EpisodeTask, SamplingParams, Trajectory

READY_TIMEOUT_S = 300.0


class Crew:
    """N rollout actors, one replay actor, one learner actor."""

    def __init__(
        self,
        config: RunConfig,
        placement: Placement,
        run_name: str,
        run_dir: Path,
        seed_log: Path | None = None,
    ) -> None:
        """Create the actors and wait until every model stands.

        Args:
            config: of the run.
            placement: CPU and GPU shares.
            run_name: part of the actors' names, by which the dashboard shows them.
            run_dir: where the replay actor keeps episodes and ledger.
            seed_log: where the learner records its updates, if it makes them from seeds.

        Raises:
            OlalError: whatever an actor raised while it was built.
            RunFailed: an actor died or was not ready in time.
        """
        self._config = config
        self._learner = _spawn(
            LearnerActor,
            f"olal/{run_name}/learner",
            placement.learner,
            partial(build_learner, config),
            seed_log,
            config.adapter.snapshot_every,
        )
        self._workers = [
            _spawn(RolloutActor, f"olal/{run_name}/rollout-{i}", placement.rollout, partial(build_collector, config, i))
            for i in range(config.rollout.workers)
        ]
        self._replay = _spawn(
            ReplayActor, f"olal/{run_name}/replay", (0.0, 0.0), partial(build_replay, config, run_dir)
        )
        refs = [worker.ready.remote() for worker in self._workers]
        fetch([*refs, self._replay.ready.remote(), self._learner.current.remote()], READY_TIMEOUT_S)

    def rollout(self, tasks: Sequence[EpisodeTask], adapter: Sequence[Any]) -> list[RolloutReport]:
        """Let every worker play its share; trajectories go to the replay actor, reports come back in worker order."""
        sampling = SamplingParams(self._config.rollout.temperature, self._config.rollout.max_tokens)
        return fetch(
            [
                worker.rollout.remote(share, sampling, list(adapter), self._replay)
                for worker, share in zip(self._workers, _shares(tasks, len(self._workers)), strict=True)
            ]
        )

    def evaluate(
        self, tasks: Sequence[EpisodeTask], temperature: float, adapter: Sequence[Any]
    ) -> list[EpisodeOutcome]:
        """Play episodes that are not learned from."""
        sampling = SamplingParams(temperature, self._config.rollout.max_tokens)
        parts = fetch(
            [
                worker.evaluate.remote(share, sampling, list(adapter))
                for worker, share in zip(self._workers, _shares(tasks, len(self._workers)), strict=True)
            ]
        )
        return [outcome for part in parts for outcome in part]

    def update(self, num_episodes: int) -> LearnerReport:
        """One learner update from up to `num_episodes` of those buffered."""
        return fetch([self._learner.update.remote(self._replay, num_episodes)])[0]

    def learn(self, trajectories: Sequence[Trajectory]) -> LearnerReport:
        """One learner update from episodes at hand."""
        return fetch([self._learner.learn.remote(list(trajectories))])[0]

    def current(self) -> LearnerReport:
        """The learner's present adapter."""
        return fetch([self._learner.current.remote()])[0]

    def replay_status(self) -> ReplayStatus:
        """Fill and books of the replay buffer."""
        return fetch([self._replay.status.remote()])[0]

    def save(self, root: Path, counters: dict[str, Any]) -> str:
        """Write a checkpoint."""
        return fetch([self._learner.save.remote(root, counters, self._config.training.keep_checkpoints)])[0]

    def restore(self, path: Path) -> dict[str, Any]:
        """Put learner and buffer back to a checkpoint; returns the counters saved with it."""
        counters = dict(fetch([self._learner.restore.remote(path)])[0])
        fetch([self._replay.rewind.remote(self.current().version, counters["next_episode"])])
        return counters


def fetch(refs: Sequence[Any], timeout_s: float | None = None) -> list[Any]:
    """Wait for actors' answers and turn what Ray raises into olal's own errors.

    Raises:
        OlalError: as raised inside an actor.
        RunFailed: an actor failed in another way, died, or did not answer in time.
    """
    try:
        return ray.get(list(refs), timeout=timeout_s)
    except RayTaskError as error:
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, OlalError):
            raise cause from None
        where = getattr(error, "function_name", "an actor")
        raise RunFailed(f"{type(cause).__name__} in {where}: {_last_line(cause)}") from error
    except RayActorError as error:
        raise RunFailed(f"an actor died: {_last_line(error)}") from error
    except RayError as error:
        raise RunFailed(f"Ray failed ({type(error).__name__}): {_last_line(error)}") from error


def _spawn(kind: type, name: str, share: tuple[float, float], *arguments: Any) -> Any:
    """Create a named actor; its class becomes remote here, so that plain code never imports Ray.

    Actors that write to the run directory stay, where they fit, on the driver's own node; workers go anywhere.
    """
    options: dict[str, Any] = {"name": name, "num_cpus": share[0], "num_gpus": share[1]}
    if kind is not RolloutActor:
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
    make: Callable[..., Any] = ray.remote(kind).options(**options).remote  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return make(*arguments)
    except ValueError as error:
        raise ClusterError(f"a run of this name is on the cluster already; choose another --run-dir: {name}") from error


def _shares(tasks: Sequence[EpisodeTask], workers: int) -> list[list[EpisodeTask]]:
    """Deal tasks out in contiguous, equal shares: always the same worker for the same task."""
    bounds = [round(len(tasks) * i / workers) for i in range(workers + 1)]
    return [list(tasks[start:stop]) for start, stop in pairwise(bounds)]


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
