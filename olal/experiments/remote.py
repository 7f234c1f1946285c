"""remote: what Ray raises, told apart: an actor's own error, the death of a process, and Ray's trouble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RayTaskError,
    ReferenceCountingAssertionError,
    WorkerCrashedError,
)

from olal.errors import AdapterLost, OlalError, ProcessLost, ProcessRestarting, RunFailed, WorkerFailed

_LOSSES = (OwnerDiedError, ObjectLostError, ReferenceCountingAssertionError)
_DEATHS = (RayActorError, NodeDiedError, WorkerCrashedError, OutOfMemoryError, *_LOSSES)


def fetch(refs: Sequence[Any], timeout_s: float | None = None) -> list[Any]:
    """Wait for actors' answers and turn what Ray raises into olal's own errors.

    Raises:
        OlalError: as raised inside an actor.
        ProcessLost: an actor's process is gone, or was and is being restarted.
        RunFailed: an actor failed in another way, or did not answer in time.
    """
    try:
        return ray.get(list(refs), timeout=timeout_s)
    except RayError as error:
        raise translated(error) from error


def translated(error: BaseException) -> OlalError:
    """What Ray raised, as one of olal's errors."""
    if isinstance(error, OlalError) and not isinstance(error, RayTaskError):  # Ray raises what is both, in many lines
        return error
    if isinstance(error, RayTaskError):
        cause = error.cause if isinstance(error.cause, Exception) else error
        if isinstance(cause, OlalError):
            return cause
        if isinstance(cause, _LOSSES):
            return AdapterLost(f"what the learner had published is gone, as its process is: {last_line(cause)}")
        if isinstance(cause, _DEATHS):
            return ProcessLost(f"an actor that another one needed died: {last_line(cause)}")
        where = getattr(error, "function_name", "an actor")
        return RunFailed(f"{type(cause).__name__} in {where}: {last_line(cause)}")
    if isinstance(error, ActorUnavailableError):
        return ProcessRestarting(f"an actor died: {last_line(error)}")
    if isinstance(error, _DEATHS):
        return ProcessLost(f"an actor died: {last_line(error)}")
    return RunFailed(f"Ray failed ({type(error).__name__}): {last_line(error)}")


def is_infrastructure(error: OlalError) -> bool:
    """Whether the machine is to blame, so that the same work may well succeed elsewhere."""
    return isinstance(error, ProcessLost | WorkerFailed)


def last_line(error: BaseException) -> str:
    """The last line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
