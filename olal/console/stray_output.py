"""StrayOutput: what others print while a run shows itself, as one of the run's own lines.

Ray tells its warnings on the standard output, and so does many an environment. Among JSON lines that would be read as
one of them, so it becomes the text of a status event.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


class StrayOutput(io.TextIOBase):
    """A stream that hands on every whole line."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Start empty.

        Args:
            tell: is given a line without its end and without colours; empty ones are left out.
        """
        self._tell = tell
        self._rest = ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Take some text; from any thread."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if shown := _ESCAPE.sub("", line).strip():
                self._tell(shown)
        return len(text)
