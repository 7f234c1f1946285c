"""Outbox: finished episodes on their way to the replay buffer, kept until it acknowledged them.

Nothing here waits. A delivery that fails because the buffer's process died is sent again; the buffer takes every
episode once, however often it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from olal.adapters import AdapterProof
from olal.replay import EpisodeRecord

Ticket = TypeVar("Ticket")
Receipt = TypeVar("Receipt")


@dataclass(frozen=True, slots=True)
class _Parcel:
    records: tuple[EpisodeRecord, ...]
    proofs: tuple[AdapterProof, ...]


class Outbox(Generic[Ticket, Receipt]):
    """Deliveries of one worker, in order, one under way at a time."""

    def __init__(
        self,
        send: Callable[[Sequence[EpisodeRecord], Sequence[AdapterProof]], Ticket],
        answer: Callable[[Ticket], Receipt | None],
    ) -> None:
        """Start empty.

        Args:
            send: begins a delivery and returns at once.
            answer: the buffer's receipt; None while there is none. Raises ConnectionError where it will never come.
        """
        self._send, self._answer = send, answer
        self._waiting: list[_Parcel] = []
        self._under_way: tuple[_Parcel, Ticket] | None = None

    @property
    def ids(self) -> tuple[int, ...]:
        """Episodes that are not acknowledged."""
        parcels = [*([self._under_way[0]] if self._under_way else []), *self._waiting]
        return tuple(record.episode_id for parcel in parcels for record in parcel.records)

    def add(self, records: Sequence[EpisodeRecord], proofs: Sequence[AdapterProof]) -> None:
        """Hand over finished episodes with the proofs of the adapters they were played under."""
        if records:
            self._waiting.append(_Parcel(tuple(records), tuple(proofs)))

    def work(self) -> list[Receipt]:
        """Collect what was answered and send what waits; returns the receipts."""
        receipts: list[Receipt] = []
        while self._under_way is not None or self._waiting:
            if self._under_way is None:
                parcel = self._waiting.pop(0)
                self._under_way = parcel, self._send(parcel.records, parcel.proofs)
            parcel, ticket = self._under_way
            try:
                receipt = self._answer(ticket)
            except ConnectionError:
                self._under_way = None
                self._waiting.insert(0, parcel)
                break
            if receipt is None:
                break
            receipts.append(receipt)
            self._under_way = None
        return receipts

    def clear(self) -> None:
        """Forget everything: it belongs to a policy that is no more."""
        self._waiting.clear()
        self._under_way = None
