"""read_ledger: the books of a run from outside, without disturbing the process that keeps them."""

from __future__ import annotations

from pathlib import Path

from olal.metrics import read_jsonl
from olal.replay.books import Books
from olal.replay.ledger import Ledger


def read_ledger(directory: Path) -> tuple[Ledger, int]:
    """The counts as of the last whole line of a run's ledger, and one more than the highest number in it.

    Args:
        directory: of the run.

    Raises:
        RunDirectoryInvalid: the ledger is damaged.
    """
    books = Books()
    for event in read_jsonl(directory / "ledger.jsonl"):
        books.apply(event)
    return books.ledger(), books.next_unknown
