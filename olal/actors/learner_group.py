"""LearnerGroup: a learner on several processes, one GPU each, that is spoken to as one.

    LearnerActor ── update(batch) ──▶ LearnerGroup ─┬─▶ its own learner, rank 0 ◀──┐ gradients, losses and terms
                                                    └─▶ LearnerPeerActor, rank 1.. ◀┘ summed over torch.distributed

Every process is handed the same batch, by one reference into the object store, and takes the same steps; only the
model passes are shared out. The peers belong to the process that made them: where it dies, so do they. Where one of
them dies, the group is as one whose process was started anew: untrained, until it is restored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from olal.actors.learner_peer import LearnerPeerActor, learned_digest
from olal.adapters import Checkpoint, SeedSpace
from olal.errors import OlalError, ProcessesDisagree, ProcessLost, RunFailed
from olal.learners.base import LearnerStep, SeedLearner
from olal.types import AdapterUpdate, Perturbation, Trajectory

if TYPE_CHECKING:
    from olal.learners.base import SharedLearner
    from olal.learners.process_group import ProcessGroup

START_TIMEOUT_S = 240.0
"""Longest that the other processes may take to find their place and load the model."""
_ANSWER_TIMEOUT_S = 120.0
_CAUSE_TIMEOUT_S = 10.0
_LOOPBACK = "127.0.0.1"

Found = TypeVar("Found")


class LearnerGroup:
    """See `olal.learners.base.Learner` for the contract."""

    def __init__(
        self,
        make_learner: Callable[[], tuple[SharedLearner, Any]],
        size: int,
        share: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        """Start the other processes, and load the model here meanwhile.

        Args:
            make_learner: builds a learner, the same in every process, and what it learns on.
            size: processes, this one included.
            share: CPUs and GPUs of each of the others.
        """
        self._make_learner, self._size, self._share = make_learner, size, share
        self._peers: list[Any] = []
        self._group: ProcessGroup | None = None
        self._store: Any = None
        self._start_peers()
        self._learner, self.learned_on = make_learner()
        self._fresh = self._learner.checkpoint()
        self._meet()

    @property
    def version(self) -> int:
        """Version of the present adapter."""
        return self._learner.version

    def current(self) -> AdapterUpdate:
        """The present adapter."""
        return self._learner.current()

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Learn from `trajectories` in all processes at once.

        Raises:
            GrammarError: a completion is not of the grammar it came with.
            ProcessLost: one of the processes is gone; nothing was learned, and the group is at its untrained start.
            ProcessesDisagree: they do not hold the same afterwards.
        """
        self._meet()
        given = ray.put(list(trajectories))
        answers = [peer.update.remote(given) for peer in self._peers]
        return self._together(lambda: self._learner.update(trajectories), answers)

    def checkpoint(self) -> Checkpoint:
        """All state; that of every process."""
        return self._learner.checkpoint()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from `checkpoint` in all processes; lost ones are replaced first."""
        self._meet()
        given = ray.put(checkpoint)
        answers = [peer.restore.remote(given) for peer in self._peers]
        self._together(lambda: self._learner.restore(checkpoint), answers)

    # ------------------------------------------------------------------ the other processes

    def _start_peers(self) -> None:
        options = {"num_cpus": self._share[0], "num_gpus": self._share[1]}
        make: Callable[..., Any] = ray.remote(LearnerPeerActor).options(**options).remote  # pyright: ignore[reportAttributeAccessIssue]
        self._peers = [make(self._make_learner) for _ in range(1, self._size)]

    def _meet(self) -> None:
        """Join all processes, if they have not met."""
        from olal.learners.process_group import Meeting, ProcessGroup, open_store

        if self._group is not None:
            return
        if not self._peers:
            self._start_peers()
        try:
            addresses = self._answers([peer.ready.remote() for peer in self._peers], START_TIMEOUT_S)
        except OlalError:
            self._start_over()
            raise
        own = ray.util.get_node_ip_address()
        is_one_node = set(addresses) == {own}
        host = _LOOPBACK if is_one_node else own
        self._store = open_store(host)
        meetings = [
            Meeting(host, self._store.port, rank, self._size, _LOOPBACK if is_one_node else address)
            for rank, address in enumerate([own, *addresses])
        ]
        answers = [peer.join.remote(meeting) for peer, meeting in zip(self._peers, meetings[1:], strict=True)]

        def join() -> None:
            self._group = ProcessGroup(meetings[0])
            self._learner.join(self._group)

        self._together(join, answers)

    def _together(self, act: Callable[[], Found], answers: Sequence[Any]) -> Found:
        """Act here while the others do the same, and see that all hold the same afterwards."""
        try:
            found = act()
            digests = [learned_digest(self._learner), *self._answers(answers, _ANSWER_TIMEOUT_S)]
        except ProcessLost as error:
            cause = self._cause(answers)
            self._start_over()
            raise cause or error from error
        except OlalError:
            ray.wait(list(answers), num_returns=len(answers), timeout=_CAUSE_TIMEOUT_S)
            raise  # of what was given, and so raised by every process alike
        except BaseException:
            self._start_over()
            raise
        if len(set(digests)) > 1:
            self._start_over()
            listed = ", ".join(f"{rank}: {digest}" for rank, digest in enumerate(digests))
            raise ProcessesDisagree(
                "learner processes no longer hold the same; they must run on machines and GPUs of one kind, or take "
                f"learner.num_processes=1; digests by process: {listed}"
            )
        return found

    def _answers(self, references: Sequence[Any], timeout_s: float) -> list[Any]:
        """What the peers answer.

        Raises:
            OlalError: as raised by one of them.
            ProcessLost: one is gone, or does not answer.
            RunFailed: one failed in another way.
        """
        return [self._answer(rank, each, timeout_s) for rank, each in enumerate(references, 1)]

    def _answer(self, rank: int, reference: Any, timeout_s: float) -> Any:
        try:
            return ray.get(reference, timeout=timeout_s)
        except RayError as error:
            raise self._explained(rank, error, timeout_s) from error

    def _explained(self, rank: int, error: RayError, timeout_s: float) -> OlalError:
        """What a peer raised, or what became of it."""
        who = f"learner process {rank} of {self._size}"
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, OlalError):
            return cause
        if isinstance(error, RayActorError):
            return ProcessLost(f"{who} died: {_last_line(error)}")
        if isinstance(error, GetTimeoutError):
            return ProcessLost(f"{who} did not answer within {timeout_s:g} s")
        kind = type(cause or error).__name__
        return RunFailed(f"{who} failed ({kind}): {_last_line(cause or error)}")

    def _cause(self, answers: Sequence[Any]) -> OlalError | None:
        """Why the processes lost each other: the peer that died or failed, not those that were left waiting."""
        for rank, each in enumerate(answers, 1):
            try:
                ray.get(each, timeout=_CAUSE_TIMEOUT_S)
            except RayError as error:
                if not (isinstance(error, RayTaskError) and isinstance(error.cause, ProcessLost)):
                    return self._explained(rank, error, _CAUSE_TIMEOUT_S)
        return None

    def _start_over(self) -> None:
        """Be as a process that was started anew."""
        if self._group is not None:
            self._group.close()
        for peer in self._peers:
            ray.kill(peer)
        self._group, self._store, self._peers = None, None, []
        self._learner.restore(self._fresh)


class SeedLearnerGroup(LearnerGroup):
    """See `olal.learners.base.SeedLearner` for the contract."""

    @property
    def space(self) -> SeedSpace:
        """The rules by which records become moves."""
        return self._seeded.space

    def members(self) -> tuple[Perturbation, ...]:
        """The perturbed adapters that the next episodes are to be played under."""
        return self._seeded.members()

    @property
    def _seeded(self) -> SeedLearner:
        learner: Any = self._learner
        return learner


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
