"""Ctrl-C: once drains, twice stops."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupt:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        """Nobody has, yet."""
        self.is_requested = False


@contextlib.contextmanager
def listening(on_first: Callable[[], None]) -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM and raise KeyboardInterrupt at the second.

    Args:
        on_first: called once, to say that the run will stop after this update.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        if interrupt.is_requested:
            raise KeyboardInterrupt
        interrupt.is_requested = True
        on_first()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
