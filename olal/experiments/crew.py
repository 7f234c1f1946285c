"""Crew: the actors of a run, created, spoken to as one, and brought back when they die.

rollout workers   restarted by Ray; what they had in hand is played again
replay buffer     restarted by Ray; its books and episodes stand on disk
learner           restarted by Ray; it goes back to the newest checkpoint, and the buffer with it, under a new epoch
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from olal.actors import LearnerActor, LearnerReport, ReplayActor, ReplayStatus, RolloutActor, RolloutReport
from olal.adapters import AdapterProof, Publication
from olal.config import RunConfig
from olal.errors import CheckpointNotWritten, ClusterError, OlalError, ProcessLost, ProcessRestarting, RunFailed
from olal.experiments.build import build_worker
from olal.experiments.build_learner import build_learner
from olal.experiments.build_replay import build_replay
from olal.experiments.cluster import Placement
from olal.experiments.incidents import Incidents
from olal.experiments.remote import fetch
from olal.experiments.run_directory import RunDirectory
from olal.experiments.share_players import MOST_DEATHS, play_shares
from olal.experiments.worker_pool import START_TIMEOUT_S, WorkerPool
from olal.rollout import EpisodeOutcome
from olal.types import AdapterUpdate, EpisodeTask, SamplingParams, Trajectory

if TYPE_CHECKING:
    from olal.learners.base import Learner
    from olal.models.policy_network import PolicyNetwork
    from olal.replay import ProofBook, ReplayBuffer
    from olal.rollout import RolloutWorker

_NAME_TIMEOUT_S = 10.0
_MOST_LEARNER_DEATHS = 5
"""Deaths in a row, with no update between them, after which a learner is given up."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the actors are built around; each is called in the process where the part will live.

    Attributes:
        worker: makes the rollout worker of an index.
        learner: makes the learner and the network it learns on.
        replay: opens buffer and book.
    """

    worker: Callable[[int], RolloutWorker]
    learner: Callable[[], tuple[Learner, PolicyNetwork]]
    replay: Callable[[], tuple[ReplayBuffer, ProofBook]]

    @classmethod
    def of(cls, config: RunConfig, run: RunDirectory) -> Parts:
        """As a config says."""
        return cls(
            partial(build_worker, config), partial(build_learner, config), partial(build_replay, config, run.path)
        )


class Crew:
    """Rollout workers, one replay actor, one learner actor."""

    def __init__(
        self,
        config: RunConfig,
        placement: Placement,
        run: RunDirectory,
        incidents: Incidents,
        parts: Parts | None = None,
    ) -> None:
        """Create the actors; `start` waits for them.

        Args:
            config: of the run.
            placement: CPU and GPU shares.
            run: its directory; the name becomes part of the actors' names, by which the dashboard shows them.
            incidents: is told of actors that die.
            parts: what the actors are built around; None for what the config says.
        """
        self.config, self.run = config, run.absolute()
        self.epoch = 0
        self._incidents = incidents
        self._learner_deaths = 0
        name = run.path.name
        parts = parts or Parts.of(config, self.run)
        self.learner = _spawn(
            LearnerActor,
            f"olal/{name}/learner",
            placement.learner,
            parts.learner,
            self.run.seed_log_path,
            config.adapter.snapshot_every,
        )
        self.replay = _spawn(ReplayActor, f"olal/{name}/replay", (0.0, 0.0), parts.replay)
        self.pool = WorkerPool(
            lambda index: _spawn(
                RolloutActor,
                f"olal/{name}/rollout-{index}",
                placement.rollout,
                partial(parts.worker, index),
                partial(ray.get_actor, f"olal/{name}/replay"),
            ),
            incidents,
        )

    def start(self, workers: int, stop: Callable[[], bool], *, wait_for_all: bool) -> None:
        """Create the workers and wait until models stand: everybody's, or the learner's and one worker's.

        Raises:
            OlalError: whatever an actor raised while it was built.
            RunFailed: an actor died or was not ready in time.
        """
        self.pool.resize(workers)
        fetch([self.replay.ready.remote()], START_TIMEOUT_S)
        try:
            fetch([self.learner.current.remote()], START_TIMEOUT_S)
        except ProcessLost as error:
            raise RunFailed(
                f"the learner dies whenever it starts; see its log under `ray logs actor`: {error}"
            ) from error
        enough = stop if wait_for_all else (lambda: stop() or self.pool.num_ready > 0)
        self.pool.await_ready(START_TIMEOUT_S, enough)

    # ------------------------------------------------------------------ the learner

    def current(self) -> LearnerReport:
        """The learner's present adapter, announced to the buffer, so that workers may prove that they have it."""
        return self.announced(fetch([self.learner.current.remote()])[0])

    def announced(self, report: LearnerReport) -> LearnerReport:
        """The report, once the buffer knows the adapter."""
        fetch([self.replay.expect.remote(report.publication.proof)])
        return report

    def publish_again(self, version: int) -> LearnerReport:
        """What the learner published last, published anew, as workers say that it is gone.

        Raises:
            ProcessLost: so is the learner; call `recover`.
        """
        return self.announced(fetch([self.learner.publish_again.remote(version)])[0])

    def begin_update(self, version: int, count: int, max_staleness: int, ids: Sequence[int] | None = None) -> Any:
        """Let the learner take a batch and learn from it; returns the reference of its report."""
        return self.learner.update.remote(self.replay, version, count, max_staleness, ids)

    def end_update(self, reference: Any) -> LearnerReport:
        """The report of an update.

        Raises:
            ProcessLost: the learner died; call `recover`.
        """
        report = fetch([reference])[0]
        self._learner_deaths = 0
        return self.announced(report)

    def learn(self, trajectories: Sequence[Trajectory]) -> LearnerReport:
        """One learner update from episodes at hand.

        Raises:
            ProcessLost: the learner died; call `recover`.
        """
        return self.end_update(self.learner.learn.remote(list(trajectories)))

    def save(self, version: int, counters: Mapping[str, Any]) -> str:
        """Write a checkpoint.

        Returns:
            Why it could not be written; empty where it was.

        Raises:
            ProcessLost: the learner died; call `recover`.
        """
        keep = self.config.training.keep_checkpoints
        path = self.run.checkpoints_path
        try:
            fetch([self.learner.save.remote(path, version, dict(counters), keep)])
        except CheckpointNotWritten as error:
            return str(error)
        return ""

    def restore(self) -> dict[str, Any]:
        """Put learner and buffer to the newest complete checkpoint, or to the start where there is none.

        Returns:
            The counters saved with it; empty at the start.
        """
        path = self.run.newest_checkpoint()
        counters = dict(fetch([self.learner.restore.remote(path)])[0])
        version = fetch([self.learner.current.remote()])[0].version
        self.rewind(version, counters.get("next_episode", 0))
        return counters

    def rewind(self, version: int, next_episode: int) -> None:
        """Put the buffer to where it was at a version, under a new epoch: what is still under way does not count.

        Args:
            version: that the learner is at.
            next_episode: in a synchronous run the number at that version; later ones are played again. An asynchronous
                run keeps what was played under versions that still exist.
        """
        self.epoch = fetch([self.replay.status.remote()])[0].epoch + 1
        keep_all = self.config.mode == "async"
        fetch([self.replay.rewind.remote(version, 2**62 if keep_all else next_episode, self.epoch)])
        self.pool.forget_tasks()

    def recover(self, error: OlalError) -> dict[str, Any]:
        """Bring a dead learner back, at its newest checkpoint; returns the counters saved with that.

        Raises:
            RunFailed: it died again and again without a single update.
        """
        deadline, is_told = time.monotonic() + START_TIMEOUT_S, False
        while True:
            if not isinstance(error, ProcessRestarting) or time.monotonic() > deadline or not is_told:
                self._learner_deaths += 1
                self._incidents.restarted("learner", "learner", error)
                is_told = True
            if self._learner_deaths >= _MOST_LEARNER_DEATHS:
                further = f", then go on with `olal resume {self.run.path}`" if self.run.newest_checkpoint() else ""
                raise RunFailed(
                    f"the learner died {self._learner_deaths} times in a row without an update; see its log under "
                    f"`ray logs actor`{further}: {error}"
                ) from error
            try:
                return self.restore()
            except ProcessLost as again:
                error = again
                time.sleep(0.5)

    def lasting(self, update: AdapterUpdate) -> Publication:
        """An adapter as workers take it, owned by this process, so that no death of the learner's reaches it."""
        return Publication(AdapterProof(update.version, update.digest, nan), (ray.put(update),))

    def starting(self) -> Publication:
        """The untrained adapter."""
        return self.lasting(fetch([self.learner.starting.remote()])[0])

    def final(self, version: int) -> Publication:
        """The present adapter, whatever becomes of the learner from now on."""
        try:
            return self.lasting(fetch([self.learner.adapter.remote(version)])[0])
        except ProcessLost as error:
            self.recover(error)
            return self.lasting(fetch([self.learner.adapter.remote(version)])[0])

    # ------------------------------------------------------------------ the workers

    def rollout(
        self,
        tasks: Sequence[EpisodeTask],
        publication: Publication,
        stop: Callable[[], bool],
        give_up: Callable[[Sequence[int]], None],
    ) -> list[RolloutReport]:
        """Let every worker play its share to the end; reports come back in the order of the shares.

        Args:
            tasks: all of them.
            publication: the adapter to play under.
            stop: asked again and again; once it is true the batch is left as it is.
            give_up: is told the ids of a share that took down one process after the other.

        Raises:
            Stopped: `stop` said so before all was played.
        """
        return play_shares(
            self.pool,
            tasks,
            "rollout",
            (self.sampling, publication, self.epoch),
            stop,
            give_up,
            self._limit_s(len(tasks)),
        )

    def evaluate(
        self, tasks: Sequence[EpisodeTask], temperature: float, publication: Publication
    ) -> list[EpisodeOutcome]:
        """Play episodes that are not learned from."""
        sampling = SamplingParams(temperature, self.config.rollout.max_tokens)
        parts = play_shares(
            self.pool,
            tasks,
            "evaluate",
            (sampling, publication),
            lambda: False,
            lambda ids: self._incidents.alarm(
                "killed_workers",
                f"{len(ids)} episodes of an evaluation were given up: {MOST_DEATHS} workers died of them",
            ),
            self._limit_s(len(tasks)),
        )
        return [outcome for part in parts for outcome in part]

    def _limit_s(self, episodes: int) -> float:
        """Longest that a share of so many episodes may take: rounds of those that are played at once."""
        rounds = -(-episodes // self.config.rollout.max_parallel)
        return rounds * self.config.rollout.episode_timeout_s + self.config.rollout.step_timeout_s

    def give_up(self, ids: Sequence[int], reason: str) -> None:
        """Settle episodes that will never be delivered."""
        size = getattr(self.config.plan[0].learner, "group_size", 1)
        groups = [number // size for number in ids] if size > 1 else None
        fetch([self.replay.drop.remote(list(ids), reason, groups)])

    @property
    def sampling(self) -> SamplingParams:
        """How tokens are drawn in training."""
        return SamplingParams(self.config.rollout.temperature, self.config.rollout.max_tokens)

    # ------------------------------------------------------------------ the buffer

    def replay_status(self) -> ReplayStatus:
        """Fill and books of the replay buffer."""
        return fetch([self.replay.status.remote()])[0]

    def open_ids(self, next_episode: int) -> list[int]:
        """Episodes that were handed out and are in nobody's books."""
        return fetch([self.replay.open_ids.remote(next_episode)])[0]

    def seal_segments(self, version: int) -> list[Any]:
        """Begin to turn finished segments of episodes into Parquet, in one process of its own."""
        from olal.replay import seal_all

        paths = fetch([self.replay.sealable.remote(version)])[0]
        return [ray.remote(num_cpus=0, max_retries=1)(seal_all).remote(paths)] if paths else []


def _spawn(kind: type, name: str, share: tuple[float, float], *arguments: Any) -> Any:
    """Create a named actor; its class becomes remote here, so that plain code never imports Ray.

    Actors that write to the run directory stay, where they fit, on the driver's own node; workers go anywhere.
    """
    options: dict[str, Any] = {"name": name, "num_cpus": share[0], "num_gpus": share[1], "max_restarts": -1}
    if kind is not RolloutActor:
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=True)
    if kind is ReplayActor:
        options["max_task_retries"] = -1  # every method of it may be called twice
    make: Callable[..., Any] = ray.remote(kind).options(**options).remote  # pyright: ignore[reportAttributeAccessIssue]
    deadline = time.monotonic() + _NAME_TIMEOUT_S
    while True:
        try:
            return make(*arguments)
        except ValueError as error:  # the name is taken: by a run that was killed just now, or by one that goes on
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"a run of this name is on the cluster already; choose another --run-dir: {name}"
                ) from error
        time.sleep(0.5)
