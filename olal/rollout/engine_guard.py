"""engine_guard: what an engine raises in the middle of its work ends the worker, and says so."""

from __future__ import annotations

from types import TracebackType

from olal.errors import EngineFailed, WorkerFailed


class EngineGuard:
    """Turns whatever the engine raises into one error, an `EngineFailed`.

    Engines tell what is wrong with a request in its completion, so an error is one of the engine itself.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Watch what follows."""

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Raise in the place of what the engine raised.

        Raises:
            EngineFailed: for every error that is not a WorkerFailed already.
        """
        if isinstance(error, Exception) and not isinstance(error, WorkerFailed):
            reason = (str(error).splitlines() or [""])[0]
            raise EngineFailed(
                f"the engine failed, and its worker must be started anew ({type(error).__name__}): {reason}"
            ) from error


engine_guard = EngineGuard()
"""The only one there need be: `with engine_guard: ...`."""
