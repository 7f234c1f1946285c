"""The transformers engine: grammar-constrained sampling on any Hugging Face causal language model.

Every decision needs the logits after one context. Forced tokens never reach the model by themselves: they are appended
and run together with the next decision's context. Contexts are cached, so rows that share a prompt share the pass.

    row:    prompt  {"moves":["   ?          "]}  EOS
                    forced         decision   forced        one pass for the whole action
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray

from olal.errors import AdapterMismatch, ConfigError
from olal.grammar import GrammarState
from olal.inference.context_cache import Context, ContextCache, as_contexts, common_prefix
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Completion, GenerateRequest, Message, StopReason

_SHORTEST_SHARED_PREFIX = 4


@dataclass(frozen=True, slots=True)
class _Decision:
    """A legal distribution: ids (n,), log-probabilities (n,) float64, their running sum, and log legal mass."""

    ids: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    cumulative: NDArray[np.float64]
    log_legal_mass: float


@dataclass(slots=True)
class _Row:
    """A completion in the making."""

    request: GenerateRequest
    random: np.random.Generator
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    log_legal_mass: list[float] = field(default_factory=list)
    num_passes: int = 0
    stop_reason: StopReason | None = None

    def append(self, token: int, logprob: float, log_legal_mass: float, *, is_forced: bool) -> None:
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        self.log_legal_mass.append(log_legal_mass)
        self.forced.append(is_forced)


class TransformersEngine:
    """Engine over a PolicyNetwork; see `olal.inference.base.Engine` for the contract."""

    def __init__(self, network: PolicyNetwork, *, kv_cache_bytes: int = 256 << 20, max_batch: int = 64) -> None:
        """Start with the untrained adapter, version 0.

        Args:
            network: model and bank.
            kv_cache_bytes: memory for cached contexts.
            max_batch: most rows in one model pass.
        """
        self._network = network
        self._vocabulary = network.base.vocabulary
        self._tokenizer = network.base.tokenizer
        self._cache = ContextCache(kv_cache_bytes)
        self._max_batch = max_batch
        self._max_context = int(getattr(network.base.network.config, "max_position_embeddings", 1 << 30))
        self._has_template = bool(getattr(self._tokenizer, "chat_template", None))
        self.num_passes = 0
        self.num_decisions = 0
        self.adapter_version = 0
        self.adapter_digest = network.bank.layout.digest(network.bank.initial)
        network.bank.use(torch.from_numpy(network.bank.initial.copy()))

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Prompt tokens by the model's chat template; without one, the contents joined by line breaks."""
        if self._has_template:
            text = self._render(messages)
            return tuple(self._tokenizer.encode(text, add_special_tokens=False))
        return tuple(self._tokenizer.encode("\n".join(message.content for message in messages) + "\n"))

    def _render(self, messages: Sequence[Message]) -> str:
        """The chat template's text; where it knows no system role, the instructions go before the first message."""
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            if len(chat) < 2 or chat[0]["role"] != "system":
                raise
            first = {"role": chat[1]["role"], "content": f"{chat[0]['content']}\n\n{chat[1]['content']}"}
            return self._tokenizer.apply_chat_template([first, *chat[2:]], tokenize=False, add_generation_prompt=True)

    def load_adapter(self, update: AdapterUpdate) -> None:
        """Make `update` current; contexts of other adapters are forgotten.

        Raises:
            AdapterMismatch: its size or digest is not that of this model's layout.
        """
        digest = self._network.bank.layout.digest(update.flat)
        if digest != update.digest:
            raise AdapterMismatch(f"adapter version {update.version} must have digest {update.digest}: {digest}")
        self._network.bank.use(torch.from_numpy(update.flat.copy()))
        self._cache.clear()
        self.adapter_version, self.adapter_digest = update.version, digest

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Sample one completion per request.

        Raises:
            ConfigError: a prompt leaves no room for a completion within the model's context.
            GrammarError: a grammar does not compile.
        """
        rows = [self._start(request) for request in requests]
        while waiting := [(row, state) for row in rows if (state := self._advance(row)) is not None]:
            contexts = self._contexts([(*row.request.prompt_token_ids, *row.token_ids) for row, _ in waiting])
            for (row, state), context in zip(waiting, contexts, strict=True):
                self._decide(row, state, context)
        return [self._finish(row) for row in rows]

    def _start(self, request: GenerateRequest) -> _Row:
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        needed = len(request.prompt_token_ids) + request.sampling.max_tokens
        if needed > self._max_context:
            raise ConfigError(
                f"prompt and completion need {needed} tokens, the model holds {self._max_context}; "
                f"shorten the prompt or lower rollout.max_tokens: {len(request.prompt_token_ids)} prompt tokens"
            )
        return _Row(request, np.random.Generator(np.random.Philox(key=request.seed)))

    def _advance(self, row: _Row) -> GrammarState | None:
        """Append forced tokens; the state of the next decision, or None when the row has stopped."""
        if row.stop_reason is not None:
            return None
        room = row.request.sampling.max_tokens - len(row.token_ids)
        run, state = self._vocabulary.forced_run(row.request.grammar, row.token_ids, limit=room + 1)
        for token in run[:room]:
            row.append(token, 0.0, 0.0, is_forced=True)
        if len(run) > room or (not state.is_complete and len(run) == room):
            row.stop_reason = "length"
        elif state.is_complete:
            row.stop_reason = "grammar"
        return None if row.stop_reason else state

    def _decide(self, row: _Row, state: GrammarState, context: Context) -> None:
        """Draw one legal token by inverting the cumulative distribution at one uniform number."""
        temperature = row.request.sampling.temperature
        key = (row.request.grammar.digest, len(row.token_ids), temperature)
        decision = context.decisions.get(key)
        if decision is None:
            decision = context.decisions[key] = _distribution(context.logits, state.legal, temperature)
        if temperature == 0:
            index = int(decision.logprobs.argmax())
        else:
            draw = row.random.random() * decision.cumulative[-1]
            index = min(int(np.searchsorted(decision.cumulative, draw, side="right")), len(decision.ids) - 1)
        self.num_decisions += 1
        row.num_passes += 1
        row.append(int(decision.ids[index]), float(decision.logprobs[index]), decision.log_legal_mass, is_forced=False)

    def _contexts(self, sequences: list[tuple[int, ...]]) -> list[Context]:
        """Contexts of all sequences, running the model for those not cached."""
        found: dict[tuple[int, ...], Context] = {}
        missing: list[tuple[int, ...]] = []
        for tokens in dict.fromkeys(sequences):
            entry = self._cache.get(self.adapter_digest, tokens)
            if entry is None:
                missing.append(tokens)
            else:
                found[tokens] = entry
        ancestors = {tokens: self._cache.longest_prefix(self.adapter_digest, tokens) for tokens in missing}
        fresh = [tokens for tokens in missing if ancestors[tokens] is None]
        if len(fresh) > 1 and len(shared := common_prefix(fresh)) >= _SHORTEST_SHARED_PREFIX and shared not in fresh:
            [root] = self._run([(shared, None)])
            ancestors.update(dict.fromkeys(fresh, root))
        for start in range(0, len(missing), self._max_batch):
            chunk = [(tokens, ancestors[tokens]) for tokens in missing[start : start + self._max_batch]]
            found.update({context.tokens: context for context in self._run(chunk)})
        return [found[tokens] for tokens in sequences]

    def _run(self, work: list[tuple[tuple[int, ...], Context | None]]) -> list[Context]:
        """One model pass: each sequence on top of its ancestor."""
        past = [None if ancestor is None else ancestor.past for _, ancestor in work]
        new = [tokens[0 if ancestor is None else len(ancestor.tokens) :] for tokens, ancestor in work]
        grown, logits = self._network.extend(past, new)
        self.num_passes += 1
        contexts = as_contexts([tokens for tokens, _ in work], grown, logits)
        for context in contexts:
            self._cache.put(self.adapter_digest, context)
        return contexts

    def _finish(self, row: _Row) -> Completion:
        ids = row.token_ids
        spoken = ids[:-1] if ids and ids[-1] == self._vocabulary.eos_token_id else ids
        return Completion(
            token_ids=tuple(ids),
            text=self._vocabulary.text(spoken),
            logprobs=tuple(row.logprobs),
            forced=tuple(row.forced),
            log_legal_mass=tuple(row.log_legal_mass),
            adapter_version=self.adapter_version,
            stop_reason=row.stop_reason or "length",
            num_passes=row.num_passes,
        )


def _distribution(logits: torch.Tensor, legal: NDArray[np.int64], temperature: float) -> _Decision:
    """The legal distribution after a context; at temperature 0 the one at temperature 1, of which the mode is taken."""
    scaled = logits.numpy().astype(np.float64) / (temperature or 1.0)
    chosen = scaled[legal]
    peak = chosen.max()
    log_sum = peak + math.log(np.exp(chosen - peak).sum())
    top = scaled.max()
    log_all = top + math.log(np.exp(scaled - top).sum())
    logprobs = chosen - log_sum
    return _Decision(legal, logprobs, np.cumsum(np.exp(logprobs)), log_sum - log_all)
