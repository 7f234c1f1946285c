"""RolloutWorker: one engine and its environments, played in lockstep or continuously, under proven adapters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from olal.adapters import AdapterFollower, AdapterProof, FollowerCounts, Publication, Stored, probe_tokens
from olal.inference import Engine
from olal.rollout.collector import Collector
from olal.rollout.stream import EpisodeStream, InFlight
from olal.types import EpisodeTask, SamplingParams, ScoreRequest, Trajectory

_REMEMBERED_PROOFS = 64


class RolloutWorker:
    """What a rollout process does, without Ray.

    Synchronous:     follow(publication, fetch, worker.collector); play(tasks)
    Asynchronous:    follow(publication, fetch, worker.stream); offer(tasks); run(for_s); ...      again and again

    Attributes:
        collector: plays shares in lockstep.
        stream: plays episodes that come and go.
        proof: the adapter that the next episode is played under, as the engine itself computes with it.
    """

    def __init__(
        self,
        engine: Engine,
        collector: Collector,
        stream: EpisodeStream,
        follower: AdapterFollower,
        vocabulary_size: int,
    ) -> None:
        """Join the parts.

        Args:
            engine: samples actions; collector and stream use this very one.
            collector: see the class.
            stream: see the class.
            follower: turns what is published into adapters.
            vocabulary_size: of the model, from which the probe follows.
        """
        self.collector, self.stream = collector, stream
        self._engine, self._follower = engine, follower
        self._probe = probe_tokens(vocabulary_size)
        self._proofs: dict[int, AdapterProof] = {}
        self._void: set[int] = set()
        self._later: list[EpisodeTask] = []
        self._must_reload = False
        self.proof = self._prove(engine.adapter_version, engine.adapter_digest)

    @property
    def adapters(self) -> FollowerCounts:
        """How this worker came by its adapters."""
        return replace(self._follower.counts)

    @property
    def in_flight(self) -> list[InFlight]:
        """Episodes that are being played or wait here, the oldest first."""
        flying = [one for one in self.stream.in_flight if one.episode_id not in self._void]
        return sorted(flying, key=lambda one: -one.age_s)

    @property
    def ids(self) -> tuple[int, ...]:
        """Episodes that were taken on and not returned."""
        return (*(one.episode_id for one in self.in_flight), *(task.episode_id for task in self._later))

    def follow(
        self,
        publication: Publication,
        fetch: Callable[[Any], Stored],
        player: Collector | EpisodeStream,
        *,
        anew: bool = False,
    ) -> AdapterProof:
        """Play from the next episode on under a published adapter.

        Args:
            publication: the adapter on offer; what was left out of it, as this worker was believed to have it, and is
                missing here all the same, leaves the worker with the adapter it has.
            fetch: gets what a reference stands for.
            player: who is going to play, the collector or the stream.
            anew: take the whole adapter and load it again, although one of this version was loaded. The stream does so
                once what it is playing has ended, which counts for nothing; nothing new is begun until then.

        Raises:
            AdapterMismatch: it does not belong to the engine's model, or cannot be rebuilt here.
        """
        if anew:
            self.disown()
            self._must_reload = True
        is_anew = self._must_reload
        if is_anew and player is self.stream and self.stream.in_flight:
            return self.proof
        if is_anew:
            self._proofs.clear()
            self._follower.forget()
            player.load_adapter(self._follower.present)  # so that what is there under this name goes
        offered = publication.proof
        if is_anew or (self.proof.version, self.proof.digest) != (offered.version, offered.digest):
            update = self._follower.load(publication.references, fetch)
            if is_anew or (update.version, update.digest) != (self.proof.version, self.proof.digest):
                player.load_adapter(update)
                self.proof = self._prove(update.version, update.digest)
        if is_anew:
            self._must_reload, waiting = False, self._later
            self._later = []
            self.offer(waiting)
        return self.proof

    def proofs_of(self, trajectories: Sequence[Trajectory]) -> list[AdapterProof]:
        """The proof of every adapter version that some episodes were played under."""
        versions = dict.fromkeys(trajectory.adapter_version for trajectory in trajectories)
        return [self._proofs[version] for version in versions if version in self._proofs]

    def play(self, tasks: Sequence[EpisodeTask], sampling: SamplingParams) -> list[Trajectory]:
        """Play a share in lockstep to its end."""
        return self.collector.collect(tasks, sampling)

    def offer(self, tasks: Sequence[EpisodeTask]) -> None:
        """Queue tasks; those that the worker has already are left alone."""
        held = set(self.ids)
        new = [task for task in tasks if task.episode_id not in held]
        later = [task for task in new if self._must_reload or task.episode_id in self._void]
        self._later += later
        self.stream.offer([task for task in new if task not in later])

    def run(self, sampling: SamplingParams, for_s: float, stop: threading.Event | None = None) -> list[Trajectory]:
        """Play for about `for_s` seconds, or until told to stop; returns what finished meanwhile."""
        if not self.stream.in_flight:
            return []
        finished = self.stream.run(sampling, for_s, stop)
        void = {one.task.episode_id for one in finished} & self._void
        self._void -= void
        again = [] if self._must_reload else [task for task in self._later if task.episode_id in void]
        self._later = [task for task in self._later if task not in again]
        if again:
            self.stream.offer(again)
        return [one for one in finished if one.task.episode_id not in void]

    def disown(self) -> None:
        """Whatever is being played belongs to a policy that is no more: it may end, but counts for nothing."""
        self.stream.revoke(self.ids)
        self._later.clear()
        self._void |= {one.episode_id for one in self.stream.in_flight}

    def _prove(self, version: int, digest: str) -> AdapterProof:
        known = self._proofs.get(version)
        if known is None or known.digest != digest:
            prompt, scored = self._probe
            [score] = self._engine.score([ScoreRequest(prompt, scored, adapter=digest)])
            probe = sum(score.logprobs) / len(score.logprobs) if score.logprobs else float("nan")
            known = self._proofs[version] = AdapterProof(version, digest, probe)
            while len(self._proofs) > _REMEMBERED_PROOFS:
                self._proofs.pop(next(iter(self._proofs)))
        return known
