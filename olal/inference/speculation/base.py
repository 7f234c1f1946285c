"""The Drafter protocol: whoever guesses what the model will say next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from olal.inference.speculation.draft_path import DraftPath


class Drafter(Protocol):
    """Guesses tokens.

    The engine's loop, once per model pass:

        paths = [DraftPath(vocabulary, row, limit) for row in rows]
        drafter.propose(paths)                     # pushes legal guesses
        ...                                        # one pass over all of them; each is kept while the model agrees
        drafter.observe(tokens)                    # a finished completion, to learn from
    """

    def propose(self, paths: Sequence[DraftPath]) -> None:
        """Push guesses onto the paths; an empty path is no guess."""
        ...

    def observe(self, tokens: tuple[int, ...]) -> None:
        """Take note of a finished sequence, prompt included."""
        ...
