"""GrammarSpec: a compiled grammar as one canonical text, the only form in which a grammar travels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GrammarSpec:
    """A grammar in the matcher's own notation.

    Engine and learner rebuild the same mask from this text and the token ids, so no mask is ever sent.

    Attributes:
        text: llguidance grammar as JSON text.
        decisions: fields of a JSON grammar that are marked as decisions, as paths such as `action` or `steps.*.tool`
            (`*` for any index); they say what a delegating engine asks the large model, and change no legal set.
        digest: first 16 hex digits of the text's SHA-256; the cache key of legal sets everywhere.

    >>> GrammarSpec("{}").digest
    '44136fa355b3678a'
    """

    text: str
    decisions: tuple[str, ...] = ()
    digest: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", hashlib.sha256(self.text.encode()).hexdigest()[:16])
