"""engine_guard: what an engine raises in the middle of its work ends the worker, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from olal.errors import EngineFailed, WorkerFailed


@contextmanager
def engine_guard() -> Iterator[None]:
    """Turn whatever the engine raises into one error.

    Engines tell what is wrong with a request in its completion, so an error is one of the engine itself.

    Raises:
        EngineFailed: in its place.
    """
    try:
        yield
    except WorkerFailed:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise EngineFailed(
            f"the engine failed, and its worker must be started anew ({type(error).__name__}): {reason}"
        ) from error
