"""Proof of delivery: what a worker must answer before what it plays counts.

A digest says which adapter a worker was handed; only a probability shows that its engine computes with it. So every
version is published with the log-probability that the learner's own model gives a fixed probe text under it, and a
worker answers with what its engine gives. Weights that never arrived are noticed at the first version.

    learner    publishes  (version, digest, probe)  +  references to the adapter
    worker     fetches, loads, lets its engine score the probe, sends (version, digest, probe) with every delivery
    buffer     takes the episodes if both agree, else refuses them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from olal.adapters.delta_bytes import decode_delta

_PROMPT_TOKENS, _SCORED_TOKENS = 24, 8


@dataclass(frozen=True, slots=True)
class AdapterProof:
    """What one process says about the adapter it computes with.

    Attributes:
        version: policy version.
        digest: of the adapter's weights.
        probe: mean natural log-probability of the probe's scored tokens under the model with this adapter.
    """

    version: int
    digest: str
    probe: float

    def agrees_with(self, other: AdapterProof, tolerance: float) -> bool:
        """Whether both speak of one adapter and their models compute alike.

        >>> AdapterProof(3, "d3", -5.0).agrees_with(AdapterProof(3, "d3", -5.0004), tolerance=1e-3)
        True
        """
        same = self.version == other.version and self.digest == other.digest
        return same and abs(self.probe - other.probe) <= tolerance  # NaN agrees with nothing


@dataclass(frozen=True, slots=True)
class Publication:
    """One adapter version on offer.

    Attributes:
        proof: what a worker that loaded it must be able to say.
        references: where it is, as `AdapterFollower` reads it; in a tuple, so that Ray does not open them on the way.
    """

    proof: AdapterProof
    references: tuple[Any, ...]

    @property
    def version(self) -> int:
        """Policy version on offer."""
        return self.proof.version

    def to(self, holder: AdapterProof | None) -> Publication:
        """What of it must be sent to someone who has an adapter; references cost more to send than a small update.

        >>> publication = Publication(AdapterProof(3, "d3", -5.0), ("whole",))
        >>> publication.to(AdapterProof(3, "d3", -5.0)).references
        ()
        >>> publication.to(AdapterProof(2, "d2", -5.1)).references
        ('whole',)
        """
        if holder is None:
            return self
        if (holder.version, holder.digest) == (self.proof.version, self.proof.digest):
            return Publication(self.proof, ())
        newest = self.references[-1]
        if isinstance(newest, bytes) and decode_delta(newest).parent_digest == holder.digest:
            return Publication(self.proof, (newest,))
        return self


def probe_tokens(vocabulary_size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The probe: a context and the tokens scored after it, both spread over the vocabulary.

    >>> prompt, scored = probe_tokens(100)
    >>> len(prompt), len(scored), max(prompt + scored) < 100
    (24, 8, True)
    """
    ids = [(7919 * (place + 1)) % vocabulary_size for place in range(_PROMPT_TOKENS + _SCORED_TOKENS)]
    return tuple(ids[:_PROMPT_TOKENS]), tuple(ids[_PROMPT_TOKENS:])
