"""Where the time of a run goes, measured from outside: functions are wrapped for as long as a `with` block lasts.

Time is counted once, for the innermost label that is running, so that labels add up to the whole:

    step()                 rest      ......            ......            ..
      extend()             passing         ....    ....      ....    ....
        network()          model               ####              ####
"""

from __future__ import annotations

import functools
import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class Stopwatch:
    """Seconds and calls by label.

    Attributes:
        seconds: by label, time within inner labels left out.
        calls: by label, those that came from outside of that label.
    """

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def watching(self, targets: Iterable[tuple[Any, str, str]]) -> Iterator[Stopwatch]:
        """Wrap functions.

        Args:
            targets: of each function its owner (a class or a module), its name there and its label.
        """
        originals: list[tuple[Any, str, Any]] = []
        try:
            for owner, name, label in targets:
                original = inspect.getattr_static(owner, name)
                originals.append((owner, name, original))
                setattr(owner, name, self._wrapped(original, label))
            yield self
        finally:
            for owner, name, original in reversed(originals):
                setattr(owner, name, original)

    def share(self, label: str, total: float) -> float:
        """Part of a total that a label took."""
        return self.seconds[label] / total

    def _wrapped(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **keywords: Any) -> Any:
            if self._running and self._running[-1] == label:
                return function(*args, **keywords)
            self._switch()
            self._running.append(label)
            self.calls[label] += 1
            try:
                return function(*args, **keywords)
            finally:
                self._switch()
                self._running.pop()

        return call

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now


def public_methods(owner: type, label: str) -> list[tuple[type, str, str]]:
    """Every public method of a class that is written in Python, under one label."""
    return [
        (owner, name, label) for name, member in vars(owner).items() if inspect.isfunction(member) and name[0] != "_"
    ]
