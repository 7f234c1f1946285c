"""EpisodeStream: continuous collection by one worker with one engine.

    offer ─▶ queue ─▶ environment ─▶ engine ─▶ environment ─▶ ... ─▶ finished ─▶ run returns it
               │           ▲            │
               └─ at once ─┘            └─ submit, step: whoever asks is in the batch

An episode that ends is replaced by the next in the queue; while slow environments step, others generate. How many are
played at once follows what the engine says of its load. Every episode is played under the adapter it began with, and
its draws depend on its task and its turns alone, so it is the one that a Collector would have played.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from olal.adapters import AdapterFollower, FollowerCounts, Stored
from olal.agents import PromptAgent
from olal.envs.base import Environment
from olal.errors import ConfigError, WorkerFailed
from olal.inference import Engine
from olal.rollout.adapter_leases import AdapterLeases
from olal.rollout.concurrency import AdaptiveConcurrency
from olal.rollout.deadlines import Deadlines
from olal.rollout.engine_guard import engine_guard
from olal.rollout.episode import Episode
from olal.rollout.player import Player
from olal.rollout.reward import RewardFunction, pay_all
from olal.types import AdapterUpdate, Completion, EpisodeTask, SamplingParams, Trajectory

Reference = TypeVar("Reference")
Where = Literal["queue", "environment", "engine"]

_OBSERVE_S = 0.02
_POLICE_S = 0.05
_PATIENCE_S = 5e-3
_AHEAD_S, _AHEAD_RUNS = 1.0, 1.5
_MEMORY_S = 2.0


@dataclass(frozen=True, slots=True)
class InFlight:
    """A task that was taken on and not returned yet.

    Attributes:
        episode_id: of the task.
        age_s: since it was offered.
        where: who has it.
        where_s: since when.
    """

    episode_id: int
    age_s: float
    where: Where
    where_s: float


class EpisodeStream:
    """Plays queued episodes one after another, many at once.

    The loop of a worker:

        stream.follow(published, fetch)
        stream.offer(tasks)                           # as many as stream.wanted(for_s)
        for trajectory in stream.run(sampling): ...   # what finished meanwhile

    Attributes:
        busy_s: seconds within `run`.
        idle_s: seconds between two runs.
        engine_s: of `busy_s`, in the engine.
        env_wait_s: of `busy_s`, with nothing to do but wait for environments.
    """

    def __init__(
        self,
        make_env: Callable[[], Environment],
        make_agent: Callable[[Environment], PromptAgent],
        engine: Engine,
        *,
        worker: int = 0,
        follower: AdapterFollower | None = None,
        reward: RewardFunction | None = None,
        limits: Deadlines | None = None,
        concurrency: AdaptiveConcurrency | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the first environment, from which the agent is made.

        Args:
            make_env: builds one environment; environments are reused from episode to episode.
            make_agent: builds the agent for an environment.
            engine: samples the actions. Its current adapter is to stay what it is.
            worker: index written into trajectories.
            follower: rebuilds adapters that are published as seeds; None where whole ones alone are loaded.
            reward: pays in the environment's place; None leaves its rewards.
            limits: of environments and episodes; None for the defaults.
            concurrency: how many episodes to play at once; None for at most 256.
            clock: monotonic seconds.
        """
        self._engine, self._worker, self._reward, self._clock = engine, worker, reward, clock
        self._concurrency = concurrency or AdaptiveConcurrency(256)
        self._player = Player(make_env, make_agent, engine, limits or Deadlines(), clock)
        self._leases = AdapterLeases(engine, follower)
        self._queue: deque[tuple[EpisodeTask, float]] = deque()
        self._playing: dict[Episode, float] = {}
        self._asking: dict[int, Episode] = {}
        self._ready: list[Episode] = []
        self._finished: list[Trajectory] = []
        self._is_draining = False
        self._broken: WorkerFailed | None = None
        self.idle_s = self.busy_s = self.engine_s = self.env_wait_s = 0.0
        self._left = self._next_police = clock()
        self._turns_observed, self._num_turns, self._next_observation = 0, 0, 0.0
        self._observed = self._left
        self._episodes_per_s = 0.0
        self._counted = self._counted_s = 0.0

    @property
    def in_flight(self) -> Sequence[InFlight]:
        """Tasks taken on and not returned yet."""
        now = self._clock()
        queued = [InFlight(task.episode_id, now - since, "queue", now - since) for task, since in self._queue]
        playing = [
            InFlight(one.task.episode_id, now - since, cast(Where, one.where), now - one.since)
            for one, since in self._playing.items()
        ]
        return [*playing, *queued]

    @property
    def limit(self) -> int:
        """Episodes played at once at present, where there are as many."""
        return self._concurrency.limit

    def wanted(self, for_s: float) -> int:
        """How many more tasks it could use now: to fill up, and for `for_s` seconds of playing, a second at least."""
        if self._is_draining:
            return 0
        ahead = max(math.ceil(self._episodes_per_s * max(_AHEAD_S, _AHEAD_RUNS * for_s)), self.limit // 4, 1)
        return max(0, self.limit + ahead - len(self._playing) - len(self._queue))

    @property
    def num_abandoned(self) -> int:
        """Environments that hung and were left behind so far."""
        return self._player.num_abandoned

    def offer(self, tasks: Iterable[EpisodeTask]) -> None:
        """Queue tasks; never blocks.

        Raises:
            ConfigError: the stream was told to start no new ones.
        """
        if self._is_draining:
            raise ConfigError("a stream that is being drained takes no more tasks; make another")
        now = self._clock()
        self._queue.extend((task, now) for task in tasks)

    def revoke(self, episode_ids: Collection[int]) -> list[EpisodeTask]:
        """Drop tasks that have not begun.

        Returns:
            Those that were dropped; of the others, if they are known, a trajectory will come.
        """
        wanted = set(episode_ids)
        dropped = [task for task, _ in self._queue if task.episode_id in wanted]
        self._queue = deque(one for one in self._queue if one[0].episode_id not in wanted)
        return dropped

    def drain(self) -> list[EpisodeTask]:
        """Start no new episodes; those being played go on to their end.

        Returns:
            Tasks that had not begun, and are dropped.
        """
        self._is_draining = True
        dropped = [task for task, _ in self._queue]
        self._queue.clear()
        return dropped

    def follow(self, published: Sequence[Reference | bytes], fetch: Callable[[Reference], Stored]) -> FollowerCounts:
        """Let the episodes to come play under the adapter that was published last; see `Collector.follow`.

        Raises:
            AdapterMismatch: it does not belong to the engine's model, or cannot be rebuilt here.
        """
        return self._leases.follow(published, fetch)

    def load_adapter(self, update: AdapterUpdate) -> None:
        """Let the episodes to come play under an adapter.

        Raises:
            AdapterMismatch: it does not belong to the engine's model.
        """
        self._leases.load(update)

    def pay(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """What a learner is to see: trajectories paid by the reward function, where there is one.

        Raises:
            ConfigError: the reward function does not give one finite number per turn.
        """
        return pay_all(trajectories, self._reward)

    def nudge(self) -> None:
        """Let `run` look at its stop soon; the one thing that other threads may call."""
        self._player.nudge()

    def run(
        self, sampling: SamplingParams, for_s: float = 0.5, stop: threading.Event | None = None
    ) -> list[Trajectory]:
        """Play for about `for_s` seconds; less where nothing is left to do.

        Args:
            sampling: how to draw tokens.
            for_s: seconds; may be infinite.
            stop: ends it early; see `nudge`.

        Returns:
            Episodes that finished, in the order in which they did; failed ones carry their error and its class.

        Raises:
            EngineFailed: the engine raised; nothing that was in flight goes on.
            ThreadsExhausted: too many environments hang.
        """
        if self._broken is not None:
            raise self._broken
        entered = self._clock()
        self.idle_s += entered - self._left
        try:
            self._play(sampling, entered + for_s, stop or threading.Event())
        except WorkerFailed as error:
            self._broken = error
            if not self._finished:
                raise
        finally:
            self._left = self._clock()
            self.busy_s += self._left - entered
        self._measure_rate(len(self._finished), self._left - entered)
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Close every environment; what is in flight is lost."""
        self._player.close()

    def _play(self, sampling: SamplingParams, until: float, stop: threading.Event) -> None:
        while True:
            self._fill()
            self._take(self._wait(until))
            while self._fill() and self._clock() < until and not stop.is_set():
                self._take(self._wait(until))
            self._submit(sampling)
            self._step()
            now = self._clock()
            if now >= self._next_police:
                self._next_police = now + _POLICE_S
                self._expire()
            if now >= self._observed + _OBSERVE_S and self._num_turns - self._turns_observed >= 4 * self.limit:
                self._observe(now)
            if now >= until or stop.is_set() or not (self._queue or self._playing):
                return

    def _fill(self) -> bool:
        """Begin queued episodes while there is room; the first one alone, as it says how to run the others.

        Returns:
            Whether any began.
        """
        num_before, limit = len(self._playing), self._concurrency.limit
        while self._queue and len(self._playing) < limit:
            if self._playing and not self._player.is_measured:
                break
            task, offered = self._queue.popleft()
            lease = self._leases.take(task)
            episode = Episode(task, lease.version, lease.digest, self._clock(), adapter=lease.digest)
            self._playing[episode] = offered
            self._player.start(episode)
        return len(self._playing) > num_before

    def _wait(self, until: float) -> list[Episode]:
        """Episodes whose environments answered: the engine's work is not held up, but by cheap ones for a moment."""
        started = self._clock()
        if not self._ready and not self._asking:
            found = self._player.wait(max(0.0, until - started))
            self.env_wait_s += self._clock() - started
        else:
            found = self._player.wait(0.0, is_noisy=True)
        if self._player.is_slow or not self._player.num_at_work:
            return found
        limit = self._clock() + _PATIENCE_S
        while self._player.num_at_work and (left := limit - self._clock()) > 0:
            found += self._player.wait(left)
        return found

    def _take(self, episodes: Iterable[Episode]) -> None:
        for episode in episodes:
            if episode.is_over:
                self._finish(episode)
            else:
                self._ready.append(episode)

    def _submit(self, sampling: SamplingParams) -> None:
        with engine_guard:
            for episode in self._ready:
                self._asking[self._engine.submit(episode.request(sampling))] = episode
                episode.where, episode.since = "engine", self._clock()
        self._ready.clear()

    def _step(self) -> None:
        """Let the engine run once, and the environments of those that it answered."""
        if not self._asking:
            return
        started = self._clock()
        with engine_guard:
            answers = self._engine.step()
        self.engine_s += self._clock() - started
        for request_id, completion in answers:
            episode = self._asking.pop(request_id, None)
            if episode is not None:
                self._answer(episode, completion)

    def _answer(self, episode: Episode, completion: Completion) -> None:
        self._num_turns += 1
        if not self._player.play(episode, completion):
            self._finish(episode)

    def _expire(self) -> None:
        late = self._player.expire(list(self._playing))
        for episode in late:
            for request_id in [number for number, asking in self._asking.items() if asking is episode]:
                with engine_guard:
                    self._engine.cancel(request_id)
                del self._asking[request_id]
            self._finish(episode)

    def _finish(self, episode: Episode) -> None:
        del self._playing[episode]
        self._finished.append(episode.trajectory(self._worker))
        with engine_guard:
            self._leases.give_back(episode.digest)

    def _observe(self, now: float) -> None:
        """Tell the limit of the last interval."""
        throughput = (self._num_turns - self._turns_observed) / (now - self._observed)
        self._turns_observed, self._observed = self._num_turns, now
        with engine_guard:
            load = self._engine.load()
        is_full = bool(self._queue) and len(self._playing) >= self.limit
        self._concurrency.observe(load, throughput, is_full=is_full)

    def _measure_rate(self, num_finished: int, duration_s: float) -> None:
        """Over the last seconds of playing, however many runs they were: a short one alone says nothing."""
        kept = math.exp(-duration_s / _MEMORY_S)
        self._counted = kept * self._counted + num_finished
        self._counted_s = kept * self._counted_s + duration_s
        self._episodes_per_s = self._counted / max(self._counted_s, 1e-3)
