"""What legal sets cost beside the model: a 32,000-token vocabulary, 32 rows, free texts in nested JSON.

Only decoding is timed: the prompts were run before. Every turn has seeds of its own, so the texts are new and their
legal sets must be worked out. Everything is timed from outside, the product holds no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from _actions import Actions
from _models import Pair
from _players import Ours
from _stopwatch import Stopwatch, public_methods

from olal.grammar import Vocabulary
from olal.inference import transformers_engine
from olal.inference.contexts import ContextRunner
from olal.inference.transformers_engine import TransformersEngine
from olal.models.causal_network import CausalNetwork

_NO_MASK = {"text", "text_bytes"}


@dataclass(frozen=True, slots=True)
class DecodeTime:
    """One batch decoded.

    Attributes:
        seconds: in all.
        tokens: of all rows, forced ones included.
        decisions: of these, those that were drawn.
        passes: of the engine.
        parts: seconds by what they were spent on, which add up to the whole.
    """

    seconds: float
    tokens: int
    decisions: int
    passes: int
    parts: dict[str, float]

    @property
    def mask_share(self) -> float:
        """Part of the time spent on legal sets."""
        return self.parts["mask"] / self.seconds

    @property
    def mask_ms_per_token(self) -> float:
        """Milliseconds spent on legal sets per token of a row."""
        return 1e3 * self.parts["mask"] / self.tokens

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds / self.seconds:.1%}" for name, seconds in self.parts.items())
        return (
            f"{self.seconds:.2f} s for {self.tokens} tokens, {self.decisions} of them decisions, in {self.passes} "
            f"passes; mask {self.mask_ms_per_token:.3f} ms a token\n    {parts}"
        )


def decode(ours: Ours, actions: Actions) -> DecodeTime:
    """Run the prompts, then decode a batch on top of them with everything watched."""
    ours.forget()
    ours.play(actions)
    passes = ours.engine.num_passes
    with Stopwatch().watching(_targets(ours.pair)) as watch:
        seconds, completions = ours.play(actions)
    parts = dict(watch.seconds)
    parts["rest"] = seconds - sum(parts.values())
    return DecodeTime(
        seconds,
        sum(len(completion.token_ids) for completion in completions),
        sum(not forced for completion in completions for forced in completion.forced),
        ours.engine.num_passes - passes,
        parts,
    )


def _targets(pair: Pair) -> list[tuple[Any, str, str]]:
    """What to time, by what it is."""
    return [
        *(target for target in public_methods(Vocabulary, "mask") if target[1] not in _NO_MASK),
        (type(pair.policy.base.network), "forward", "model"),
        (CausalNetwork, "extend", "key-value copies"),
        (ContextRunner, "run", "contexts"),
        (transformers_engine, "legal_distributions", "softmax"),
        (transformers_engine, "draw_many", "draw"),
        (TransformersEngine, "encode", "tokenizer"),
        (TransformersEngine, "step", "rows"),
    ]
