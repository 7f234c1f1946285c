"""What actors tell the driver: frozen rows that travel through Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from olal.adapters import AdapterProof, FollowerCounts, Publication
from olal.replay import Ledger
from olal.rollout import EpisodeOutcome, InFlight
from olal.types import Perturbation


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """Which process an actor runs in; two that differ tell that one died in between.

    Attributes:
        number: drawn by the process, since those of two containers may well have the same process id.
        log: host and file of what it prints.
    """

    number: int
    log: str


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """Fill and books of the replay buffer.

    Attributes:
        episodes: waiting, those that the learner has in hand included.
        capacity: most that may wait.
        num_bytes: their size.
        ready: episodes that a learner could take now, whole groups only.
        epoch: lineage of the policy whose episodes are taken.
        ledger: the counts.
        trouble: why episodes cannot be written to the disk at present; empty while they can.
        next_unknown: one more than the highest episode number on the books.
        pid: of the process, by which a restart shows.
        at_s: when this was so, in seconds of the wall clock: what a worker brings with its report may be old.
    """

    episodes: int
    capacity: int
    num_bytes: int
    ready: int
    epoch: int
    ledger: Ledger
    trouble: str
    next_unknown: int
    pid: int
    at_s: float


@dataclass(frozen=True, slots=True)
class DeliveryReceipt:
    """What the replay buffer did with a delivery.

    Attributes:
        taken: ids that are on the books now, whether this delivery or an earlier one brought them.
        refused: ids of another lineage, or played under an adapter that was not proven; they must be played again.
        unproven: the proof that was found wrong, and the one that was expected; None where all were right.
        status: after it.
    """

    taken: tuple[int, ...]
    refused: tuple[int, ...]
    unproven: tuple[AdapterProof, AdapterProof | None] | None
    status: ReplayStatus


@dataclass(frozen=True, slots=True)
class RolloutReport:
    """What a worker did since its last report.

    Attributes:
        outcomes: one per finished episode, failed ones included.
        receipts: answers of the replay buffer that came in.
        holding: ids in the worker's hands: queued, being played, or not acknowledged yet.
        in_flight: episodes being played, longest first.
        wanted: tasks it could take in addition.
        proof: the adapter that it plays under.
        adapters: how it came by its adapters since it started.
        pid: of its process, by which a restart shows.
        duration_s: seconds of playing.
        sync_s: seconds of fetching and loading adapters.
        idle_s: seconds in which there was nothing to do.
        is_leaving: it was told to stop and takes no more tasks.
        adapter_lost: what it should have fetched is gone, as the learner's process is that had published it.
    """

    outcomes: tuple[EpisodeOutcome, ...]
    receipts: tuple[DeliveryReceipt, ...]
    holding: tuple[int, ...]
    in_flight: tuple[InFlight, ...]
    wanted: int
    proof: AdapterProof
    adapters: FollowerCounts
    pid: int
    duration_s: float
    sync_s: float = 0.0
    idle_s: float = 0.0
    is_leaving: bool = False
    adapter_lost: bool = False


@dataclass(frozen=True, slots=True)
class LearnerReport:
    """One update, as the driver sees it.

    Attributes:
        publication: the new adapter, and what proves that a worker has it.
        metrics: the learner's own numbers.
        num_episodes: trajectories learned from; 0 where there were none, and then the version is the former one.
        staleness: mean number of versions between acting and learning.
        mean_return: of these episodes, as the environment pays; NaN where there were none.
        success_rate: share of them that solved the task; None where that has no meaning.
        duration_s: wall time of the update.
        published_bytes: what a worker fetches that has the version before.
        members: perturbed adapters that the next episodes are to be played under; none for this adapter itself.
        alarms: what looks wrong with the update, one line each, by name.
        pid: of its process.
    """

    publication: Publication
    metrics: Mapping[str, float]
    num_episodes: int
    staleness: float
    mean_return: float
    success_rate: float | None
    duration_s: float
    published_bytes: int = 0
    members: tuple[Perturbation, ...] = ()
    alarms: Mapping[str, str] = field(default_factory=dict)
    pid: int = 0

    @property
    def version(self) -> int:
        """Of the new adapter."""
        return self.publication.proof.version

    @property
    def digest(self) -> str:
        """Of the new adapter."""
        return self.publication.proof.digest
