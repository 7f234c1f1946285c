"""Throughput of a closed network of queues, exactly: mean value analysis (Reiser and Lavenberg 1980)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Station:
    """One server with a queue before it.

    Attributes:
        name: of what it stands for.
        service_s: mean seconds at which it serves one visit.
    """

    name: str
    service_s: float


def throughput(stations: Sequence[Station], customers: int, *, think_s: float) -> float:
    """Visits a second of so many customers, each of which thinks, then visits every station once, again and again.

        R_k(n) = s_k (1 + Q_k(n - 1)),   X(n) = n / (Z + sum_k R_k(n)),   Q_k(n) = X(n) R_k(n)

    Args:
        stations: served one customer at a time.
        customers: n.
        think_s: Z, seconds between two rounds.

    >>> round(throughput([Station("one", 0.01)], 1, think_s=0.99), 6)
    1.0
    >>> round(throughput([Station("one", 0.01)], 1000, think_s=0.99))
    100
    """
    queues = [0.0] * len(stations)
    rate = 0.0
    for n in range(1, customers + 1):
        waits = [station.service_s * (1 + queue) for station, queue in zip(stations, queues, strict=True)]
        rate = n / (think_s + sum(waits))
        queues = [rate * wait for wait in waits]
    return rate
