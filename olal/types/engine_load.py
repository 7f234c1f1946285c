"""EngineLoad: how much an engine has to do, for whoever decides how much more to give it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """An engine at one moment.

    Attributes:
        num_running: requests in the making.
        num_waiting: requests submitted that have no place in the batch yet.
        kv_use: part of the memory for keys and values that requests in the making hold; what is only kept in case it
            is asked for again does not count. May exceed 1 where that memory is no hard bound.
        num_preempted: times that a request lost its keys and values to another, since the engine started.
    """

    num_running: int
    num_waiting: int
    kv_use: float
    num_preempted: int = 0
