"""What `scale.py` is made of: virtual nodes, a crew around scripted parts, producers and receivers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
from _scripted import ScriptedEngine, ScriptedLearner, SlowEnv
from numpy.typing import NDArray
from ray.cluster_utils import Cluster
from ray.exceptions import RayActorError

from olal.actors import LearnerReport, RayMeter, ReplayActor, RolloutReport
from olal.adapters import (
    AdapterFollower,
    AdapterLayout,
    AdapterProof,
    AdapterPublisher,
    Publication,
    SeedMaster,
    SeedSpace,
)
from olal.agents import PromptAgent
from olal.config import RunConfig, load_config
from olal.experiments.asynchronous import AsynchronousTraining, call_s
from olal.experiments.build_replay import build_replay
from olal.experiments.cluster import NAMESPACE, Placement
from olal.experiments.crew import Crew, Parts
from olal.experiments.incidents import Incidents
from olal.experiments.interrupt import Interrupt
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_metrics import RunMetrics
from olal.replay import EpisodeRecord
from olal.rollout import AdaptiveConcurrency, Collector, Deadlines, EpisodeStream, RolloutWorker
from olal.types import AdapterUpdate

__all__ = [
    "PROOF",
    "STEP_S",
    "DeltaPublisher",
    "Producer",
    "Receiver",
    "call_s",
    "cpu_of",
    "running_crew",
    "virtual_nodes",
]

PROOF = AdapterProof(0, "0", 0.0)
STEP_S = 0.02
"""Mean seconds of an environment's step."""
PARALLEL = 1
"""Episodes that one worker plays at once: one, so that the length of its steps bounds it and nothing else."""
_QUIET = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": "ERROR"}
_SETTLED_S = 6.0
"""A node that has just come is not asked for its health for five seconds."""
_IMAGE = Path(__file__).parents[1] / "cluster" / "Dockerfile"


@contextlib.contextmanager
def virtual_nodes(count: int) -> Iterator[Cluster]:
    """Ray nodes on this machine; the workers take no cores, as the environments' time is what they stand for.

    The head has the health checks, and workers the priority, of every cluster that the files of cluster/ start, unless
    the environment says otherwise.
    """
    for name, value in re.findall(r"(RAY_(?:health_check_\w+|worker_niceness))=(\d+)", _IMAGE.read_text()):
        os.environ.setdefault(name, value)
    head = {"num_cpus": 2, "object_store_memory": 400_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(count - 1):
        cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    ray.init(address=cluster.address, **_QUIET)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@dataclass(frozen=True, slots=True)
class Counts:
    """What workers have done."""

    episodes: int = 0
    steps: int = 0
    calls: int = 0

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.episodes - other.episodes, self.steps - other.steps, self.calls - other.calls)


class CountingTraining(AsynchronousTraining):
    """The product's loop, turn by turn, with a count of what came in."""

    present: LearnerReport
    _counts = Counts()

    def begin(self) -> None:
        """Start at version 0."""
        self.present = self._continue(self.crew.restore())

    def play_until(self, is_reached: Callable[[], bool], limit_s: float = 400.0) -> None:
        """Go on until something is so."""
        deadline = time.monotonic() + limit_s
        while not is_reached():
            self.present = self.turn(self.present)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not reached within {limit_s:.0f} s: {self._who_waits(self.present)}")

    def play_for(self, seconds: float) -> None:
        """Go on for some seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.present = self.turn(self.present)

    def counts(self) -> Counts:
        """So far."""
        return self._counts

    def _take(self, answer: Any) -> None:
        super()._take(answer)
        if isinstance(answer.result, RolloutReport):
            outcomes, before = answer.result.outcomes, self._counts
            steps = sum(outcome.num_turns for outcome in outcomes)
            self._counts = Counts(before.episodes + len(outcomes), before.steps + steps, before.calls + 1)


class _Silent:
    """A progress that says nothing."""

    def status(self, text: str) -> None: ...
    def started(self, info: Any) -> None: ...
    def updated(self, row: Any) -> None: ...
    def finished(self, summary: Any) -> None: ...


@contextlib.contextmanager
def running_crew(directory: Path, workers: int, step_s: float = STEP_S) -> Iterator[CountingTraining]:
    """A crew around scripted parts, and the loop that drives it."""
    overrides = {
        "mode": "async",
        "training.updates": 1_000_000,
        "training.checkpoint_every": 1_000_000,
        "learner.episodes_per_update": 64,
        "learner.max_staleness": 64,
        "replay.capacity_episodes": 100_000,
    }
    config = load_config([], overrides)
    run = RunDirectory.create(directory / f"scale-{workers}-{time.time_ns()}", config)
    incidents = Incidents(None, lambda line: print(line, flush=True), lambda role: None, lambda name: None)
    measured = RunMetrics(RayMeter(), "scale", "slow")
    crew = Crew(config, Placement((0.0, 0.0), (0.0, 0.0)), run, incidents, scripted_parts(config, run, step_s))
    crew.start(workers, lambda: False, wait_for_all=False)
    training = CountingTraining(config, crew, run, _Silent(), Interrupt(), incidents, measured)
    training.begin()
    try:
        yield training
    finally:
        for actor in (crew.learner, crew.replay, *(worker.actor for worker in crew.pool.workers)):
            ray.kill(actor)


def scripted_parts(config: RunConfig, run: RunDirectory, step_s: float) -> Parts:
    """Parts that need no model in the workers; this process alone loads one, for the proof, and the learner's."""
    from olal.experiments.build import build_network
    from olal.models.probe import probe_logprob

    network = build_network(config)
    bank = network.bank
    digest = bank.layout.digest(bank.initial)
    update = AdapterUpdate(0, digest, bank.initial)
    probe = probe_logprob(network, update)
    space = SeedSpace(bank.layout, bank.initial)
    size = network.base.vocabulary.size

    def make_worker(index: int) -> RolloutWorker:
        engine: Any = ScriptedEngine(digest, probe)
        follower = AdapterFollower(space)
        common: dict[str, Any] = {"worker": index, "follower": follower, "limits": Deadlines()}
        made = partial(SlowEnv, step_s), (lambda env: PromptAgent(env.instructions)), engine
        stream = EpisodeStream(*made, **common, concurrency=AdaptiveConcurrency(PARALLEL, start=PARALLEL))
        return RolloutWorker(engine, Collector(*made, **common), stream, follower, size)

    def make_learner() -> tuple[Any, Any]:
        return ScriptedLearner(bank.initial, digest, 0.05), build_network(config)

    return Parts(make_worker, make_learner, partial(build_replay, config, run.absolute().path))


def make_replay(directory: Path) -> Any:
    """A replay actor with its journal, large enough for a measurement."""
    (directory / "episodes").mkdir()
    config = load_config([], {"replay.capacity_episodes": 20_000, "replay.capacity_mb": 600})
    return ray.remote(ReplayActor).options(num_cpus=0).remote(partial(build_replay, config, directory))  # pyright: ignore[reportAttributeAccessIssue]


class _Producer:
    """Delivers episodes as fast as the buffer takes them, two deliveries under way."""

    def __init__(self, replay: Any, payload_bytes: int, per_put: int, index: int) -> None:
        self._replay, self._per_put = replay, per_put
        self._payload = b'{"observation":"' + os.urandom(payload_bytes // 2).hex().encode() + b'"}'
        self._next = index * 10_000_000

    def ready(self) -> bool:
        """Answer once it stands."""
        return True

    def produce(self, seconds: float) -> int:
        """Deliver for some seconds; returns how many episodes were acknowledged."""
        deadline, under_way, count = time.monotonic() + seconds, list[Any](), 0
        while time.monotonic() < deadline:
            ids = range(self._next, self._next + self._per_put)
            self._next += self._per_put
            records = [EpisodeRecord(number, -1, 0, "0", 1.0, 1, "", self._payload) for number in ids]
            under_way.append(self._replay.put.remote(records, [PROOF], 0))
            if len(under_way) == 2:
                count += _count(under_way.pop(0))
        return count + sum(map(_count, under_way))


class _Receiver:
    """Fetches what is published."""

    def __init__(self) -> None:
        self._follower: AdapterFollower | None = None

    def ready(self) -> bool:
        """Answer once it stands."""
        return True

    def sleep(self, seconds: float) -> None:
        """Be busy."""
        time.sleep(seconds)

    def fetch(self, references: tuple[Any, ...]) -> int:
        """Map the adapter into this process."""
        update: Any = ray.get(references[0])
        return int(update.flat[-1] >= 0) + update.flat.nbytes

    def follow_whole(self, references: tuple[Any, ...]) -> str:
        """The same, and check the digest as a worker does."""
        update: Any = ray.get(references[0])
        return space_16mb().layout.digest(update.flat)

    def follow(self, references: tuple[Any, ...]) -> str:
        """Rebuild the adapter from its seeds as a worker does."""
        if self._follower is None:
            self._follower = AdapterFollower(_small_space())
        return self._follower.load(references, ray.get).digest


def _count(delivery: Any) -> int:
    receipt: Any = ray.get(delivery)
    return len(receipt.taken)


Producer: Any = ray.remote(num_cpus=0)(_Producer)
Receiver: Any = ray.remote(num_cpus=0)(_Receiver)


def cpu_of(pid: int) -> float:
    """Processor seconds that a process of this machine has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@cache
def space_16mb() -> SeedSpace:
    """The rules of an adapter of 16 MB."""
    layout = AdapterLayout(("a", "b"), ((1024, 1024), (1024, 3072)))
    return SeedSpace(layout, np.zeros(layout.num_parameters, np.float32))


@cache
def _small_space() -> SeedSpace:
    layout = AdapterLayout(("a", "b"), ((4, 64), (64, 4)))
    return SeedSpace(layout, np.zeros(layout.num_parameters, np.float32))


def publish_whole(version: int) -> tuple[Any, ...]:
    """One 16 MB adapter in the object store."""
    flat = _flat_16mb()
    flat[-1] = version
    publisher: AdapterPublisher[Any] = AdapterPublisher(ray.put, snapshot_every=1)
    return publisher.publish(AdapterUpdate(version, "", flat), None)


@cache
def _flat_16mb() -> NDArray[np.float32]:
    return np.ones(space_16mb().layout.num_parameters, np.float32)


class DeltaPublisher:
    """Publishes updates of 64 seeds each, as MeZO with 8 directions and 8 steps makes them."""

    def __init__(self) -> None:
        """Start with the untrained adapter."""
        self._master = SeedMaster(_small_space())
        self._publisher: AdapterPublisher[Any] = AdapterPublisher(ray.put, snapshot_every=1000)
        self._publisher.publish(self._master.current(), None)

    def publish(self, version: int) -> tuple[Any, ...]:
        """The next update, as it is sent to a worker that has the one before."""
        random = np.random.default_rng(version)
        self._master.begin()
        self._master.move(random.integers(0, 2**63, 64, dtype=np.uint64), random.standard_normal(64))
        before = AdapterProof(self._master.version, self._master.current().digest, 0.0)
        delta = self._master.commit()
        present = self._master.current()
        published = self._publisher.publish(present, delta)
        return Publication(AdapterProof(present.version, present.digest, 0.0), published).to(before).references


def node_loss_noticed_s() -> float:
    """Seconds from the moment in which a node stands still to the error of the call that runs there.

    Nothing of it answers, and no connection is refused either, as where a machine loses its power.
    """
    with virtual_nodes(1) as cluster:
        node = cluster.add_node(num_cpus=1, resources={"there": 1})
        cluster.wait_for_nodes()
        actor = Receiver.options(resources={"there": 1}, max_restarts=-1).remote()
        ray.get(actor.ready.remote())
        call = actor.sleep.remote(60)
        time.sleep(_SETTLED_S)
        raylet = node.all_processes["raylet"][0].process.pid
        children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
        pids = [raylet, *map(int, children)]
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with contextlib.suppress(RayActorError):
                ray.get(call)
            return time.monotonic() - began
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
