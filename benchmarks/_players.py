"""Two ways to the same actions: olal's engine, and outlines steering transformers' `generate`, token by token."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import jsonschema
import outlines
import torch
from _actions import Actions
from _models import Pair, fresh_adapter
from outlines.inputs import Chat
from outlines.types import JsonSchema

from olal.inference.transformers_engine import TransformersEngine
from olal.types import Completion, GenerateRequest, Message, SamplingParams

MAX_TOKENS = 384


@dataclass(slots=True)
class Ours:
    """olal's engine under an adapter.

    Every turn has seeds of its own, so that no free text repeats one whose legal sets are still known.
    """

    pair: Pair
    engine: TransformersEngine
    turns: count[int] = field(default_factory=lambda: count(1))

    def forget(self) -> None:
        """Load another adapter, after which no context is known."""
        self.engine.load_adapter(fresh_adapter(self.pair.policy, next(self.turns)))

    def play(self, actions: Actions, max_tokens: int = MAX_TOKENS) -> tuple[float, list[Completion]]:
        """Seconds from the messages to the texts, and the completions."""
        first_seed = next(self.turns) << 20
        sampling = SamplingParams(max_tokens=max_tokens)
        started = time.perf_counter()
        system = Message("system", actions.instructions)
        prompts = [self.engine.encode([system, Message("user", prompt)]) for prompt in actions.prompts]
        requests = [
            GenerateRequest(prompt, actions.spec, sampling, first_seed + row) for row, prompt in enumerate(prompts)
        ]
        completions = self.engine.generate(requests)
        elapsed = time.perf_counter() - started
        for completion in completions:
            check(actions, completion.text, is_whole=completion.stop_reason == "grammar")
        return elapsed, completions


class Outlines:
    """outlines on transformers, as its documentation has it; the index is built before anything is timed."""

    def __init__(self, pair: Pair, actions: Actions) -> None:
        """Compile the schema to an index over the vocabulary, without optional whitespace, as olal writes JSON."""
        self._tokenizer = pair.tokenizer
        self._actions = actions
        model = outlines.from_transformers(pair.plain, pair.tokenizer)
        started = time.perf_counter()
        schema: Any = JsonSchema(actions.schema_text, whitespace_pattern="")
        self._generator: Any = outlines.Generator(model, schema, backend="outlines_core")
        self.compile_s = time.perf_counter() - started
        system = {"role": "system", "content": actions.instructions}
        self._prompts = [Chat([system, {"role": "user", "content": prompt}]) for prompt in actions.prompts]

    @torch.no_grad()
    def play(self) -> tuple[float, list[int]]:
        """Seconds from the messages to the texts, and the number of tokens of each, the last one included."""
        started = time.perf_counter()
        texts = self._generator.batch(self._prompts, max_new_tokens=MAX_TOKENS, do_sample=True, temperature=1.0)
        elapsed = time.perf_counter() - started
        for text in texts:
            check(self._actions, text, is_whole=True)
        return elapsed, [len(self._tokenizer.encode(text)) + 1 for text in texts]


def check(actions: Actions, text: str, *, is_whole: bool) -> None:
    """Refuse a measurement of actions that are not what was asked for.

    Raises:
        RuntimeError: the text is no JSON of the schema.
    """
    try:
        if not is_whole:
            raise ValueError(f"not finished within {MAX_TOKENS} tokens")
        jsonschema.validate(json.loads(text, strict=False), dict(actions.schema))
    except (ValueError, jsonschema.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(f"{actions.name}: not an action ({reason}): {text!r}") from error
