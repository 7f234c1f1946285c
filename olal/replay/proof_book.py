"""ProofBook: which adapter every version is, as the learner proved it, for comparison with what workers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from olal.adapters import AdapterProof
from olal.metrics import JsonlWriter, read_jsonl


class ProofBook:
    """Remembers the learner's proofs on disk, so that a restarted process knows a right worker from a wrong one."""

    def __init__(self, path: Path | None, *, tolerance: float) -> None:
        """Open the book.

        Args:
            path: JSON lines file, one published version a line; None keeps it in memory.
            tolerance: largest difference of the probe's log-probability that rounding explains, in nats.

        Raises:
            RunDirectoryInvalid: the file cannot be written.
        """
        self._tolerance = tolerance
        rows = [] if path is None else read_jsonl(path)
        self._proofs = {row["version"]: AdapterProof(**row) for row in rows}
        self._writer = None if path is None else JsonlWriter(path)
        self._unwritten: list[AdapterProof] = []
        self.trouble = ""

    def expect(self, proof: AdapterProof) -> None:
        """Take note of what the learner publishes; of a version published twice the last proof counts.

        What a full disk does not take waits, in order, for the next call; `trouble` says so as long as it lasts.
        """
        if self._proofs.get(proof.version) != proof:
            self._proofs[proof.version] = proof
            self._unwritten.append(proof)
        if self._writer is None:
            return
        try:
            while self._unwritten:
                self._writer.write(asdict(self._unwritten[0]))
                self._unwritten.pop(0)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"the run directory takes no more ({error.strerror}); proofs of adapters are kept in memory"

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        if self._writer is not None:
            self._writer.close()

    def rewind(self, version: int) -> None:
        """Forget what was published after `version`; it will be made again, and may differ."""
        self._proofs = {number: proof for number, proof in self._proofs.items() if number <= version}

    def disagreement(self, proofs: Sequence[AdapterProof]) -> tuple[AdapterProof, AdapterProof | None] | None:
        """The first proof that is not the learner's, with the learner's; None where all agree."""
        for proof in proofs:
            expected = self._proofs.get(proof.version)
            if expected is None or not proof.agrees_with(expected, self._tolerance):
                return proof, expected
        return None
