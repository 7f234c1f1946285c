"""ReplayActor: the replay buffer in a Ray process of its own, and the gate through which episodes come into it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from olal.actors.reports import DeliveryReceipt, ReplayStatus
from olal.adapters import AdapterProof
from olal.replay import EpisodeRecord, Leased, ProofBook, ReplayBuffer

_NO_EPOCH = -1


class ReplayActor:
    """Thin shell over ReplayBuffer and ProofBook. Both stand on disk, so a restarted process goes on where it was."""

    def __init__(self, open_replay: Callable[[], tuple[ReplayBuffer, ProofBook]]) -> None:
        """Open buffer and book.

        Args:
            open_replay: opens them, with all that an earlier process was told.
        """
        self._buffer, self._book = open_replay()

    def ready(self) -> bool:
        """Answers once the actor stands."""
        return True

    def expect(self, proof: AdapterProof) -> None:
        """Take note of a version before workers are told of it."""
        self._book.expect(proof)

    def put(self, records: Sequence[EpisodeRecord], proofs: Sequence[AdapterProof], epoch: int) -> DeliveryReceipt:
        """Take in finished episodes; never blocks.

        Args:
            records: the episodes.
            proofs: what the worker says of each adapter version that they were played under.
            epoch: lineage of the policy, see `ReplayBuffer.rewind`.
        """
        unproven = self._book.disagreement(proofs) if epoch == self._buffer.epoch else None
        known = {proof.version for proof in proofs}
        good: list[EpisodeRecord] = []
        unbelieved: list[EpisodeRecord] = []
        for record in records:
            (good if unproven is None and record.adapter_version in known else unbelieved).append(record)
        receipt = self._buffer.put(good, epoch)
        self._buffer.put(unbelieved, _NO_EPOCH)  # refused, and counted as such
        refused = {record.episode_id for record in unbelieved} | set(receipt.refused)
        taken = tuple(record.episode_id for record in records if record.episode_id not in refused)
        return DeliveryReceipt(taken, tuple(sorted(refused)), unproven, self.status())

    def lease(self, count: int, version: int, max_staleness: int, ids: Sequence[int] | None = None) -> list[Leased]:
        """Hand out up to `count` episodes, or those of `ids`."""
        return self._buffer.lease(count, version, max_staleness, ids)

    def commit(self, ids: Sequence[int], version: int, dropped: Mapping[str, int]) -> None:
        """Settle episodes that the learner made `version` from."""
        self._buffer.commit(ids, version, dropped)

    def rewind(self, version: int, next_episode: int, epoch: int) -> None:
        """Go back with the learner to an earlier version."""
        self._book.rewind(version)
        self._buffer.rewind(version, next_episode, epoch)

    def open_ids(self, next_episode: int) -> list[int]:
        """Ids below `next_episode` that are neither settled nor here."""
        return self._buffer.open_ids(next_episode)

    def give_back(self) -> None:
        """What the learner has on loan waits again."""
        self._buffer.give_back()

    def drop(self, ids: Sequence[int], reason: str, groups: Sequence[int] | None) -> None:
        """Settle episodes that will never come."""
        self._buffer.drop(ids, reason, groups)

    def sealable(self, version: int) -> list[Path]:
        """Segments that nothing can change any more, once `version` is in a checkpoint."""
        return self._buffer.sealable(version)

    def status(self) -> ReplayStatus:
        """Fill and books."""
        buffer = self._buffer
        return ReplayStatus(
            episodes=len(buffer),
            capacity=buffer.capacity_episodes,
            num_bytes=buffer.num_bytes,
            ready=buffer.ready(),
            epoch=buffer.epoch,
            ledger=buffer.ledger,
            trouble=buffer.trouble or self._book.trouble,
            next_unknown=buffer.next_unknown,
            pid=os.getpid(),
            at_s=time.time(),
        )
