"""The transformers engine: grammar-constrained sampling on any Hugging Face causal language model.

Every decision needs the logits after one context. Forced tokens never reach the model by themselves: they are appended
and run together with the next decision's context. Contexts are cached, so rows that share a prompt share the pass; with
a drafter a pass reaches over several decisions of a row.

    row:    prompt  {"moves":["   ?          "]}  EOS
                    forced         decision   forced        one pass for the whole action
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from olal.grammar.json_path import is_decision
from olal.inference.batched_engine import BatchedEngine
from olal.inference.context_cache import Context
from olal.inference.contexts import ContextQuery, ContextRunner
from olal.inference.row import Row
from olal.inference.sampler import LegalDistribution, draw_many, legal_distributions
from olal.inference.scoring import TrieScorer
from olal.inference.speculation import Drafter, DraftPath, SpeculationMeter
from olal.inference.speculation.draft_model import DraftModel
from olal.models.policy_network import PolicyNetwork
from olal.types import SamplingParams, Score, ScoreRequest

_MOST_CACHED_IDS, _MOST_CACHED_DISTRIBUTIONS = 256, 8
# Contexts less likely than this, given their prompt, are not kept: nobody will come by them again.
_LEAST_KEPT_LOGPROB = math.log(1 / 64)


_Key = tuple[str, int, SamplingParams]


@dataclass(slots=True)
class _Walk:
    """A row on its way along its draft."""

    row: Row
    path: DraftPath
    contexts: list[Context]
    num_accepted: int = 0

    @property
    def context(self) -> Context:
        """The context of the next draw."""
        self.row.near = self.contexts[self.num_accepted]
        return self.row.near

    def goes_on(self, token: int) -> bool:
        """Whether the row drew what was guessed, and another draw follows."""
        if self.num_accepted == len(self.path.choices) or token != self.path.choices[self.num_accepted]:
            return False
        self.num_accepted += 1
        return self.row.stop_reason is None


class TransformersEngine(BatchedEngine):
    """Engine over a PolicyNetwork; see `olal.inference.base.Engine` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        *,
        kv_cache_bytes: int = 256 << 20,
        max_batch: int = 256,
        drafter: Drafter | None = None,
        num_draft_tokens: int = 8,
        delegate: DraftModel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with the untrained adapter, version 0.

        Args:
            network: model and bank.
            kv_cache_bytes: memory for cached contexts.
            max_batch: most rows in the making at once; a finished one is replaced by the next that waits.
            drafter: guesses ahead; None for no speculation.
            num_draft_tokens: most decisions guessed per row and pass.
            delegate: a small model that alone writes all but the fields its grammar marks as decisions. Not exact:
                those tokens follow the small model, and the completion says which they are.
            clock: monotonic seconds.
        """
        super().__init__(network, max_batch=max_batch, drafter=drafter, clock=clock)
        self._max_context = int(getattr(network.base.network.config, "max_position_embeddings", 1 << 30))
        self._runner = ContextRunner(network, self._adapters.use, cache_bytes=kv_cache_bytes, width=max_batch)
        self._scorer = TrieScorer(network, self._adapters, self._runner.cache, width=max_batch)
        self._num_draft_tokens, self._delegate = num_draft_tokens, delegate
        self._meter = SpeculationMeter()
        self.num_decisions = 0

    @property
    def max_context(self) -> int:
        """Most tokens of a prompt and its completion."""
        return self._max_context

    @property
    def num_passes(self) -> int:
        """Model passes made for generation so far."""
        return self._runner.num_passes

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given tokens; sequences that begin alike share what they share."""
        return self._scorer.score(requests)

    def _begin(self, row: Row) -> None:
        """Nothing to prepare: a row's context is computed in its first round."""

    def _end(self, rows: Sequence[Row]) -> None:
        """Keep what rows that stopped have computed, for a later turn that continues it."""
        for row in rows:
            if row.near is not None:
                self._runner.keep(row.adapter.digest, row.near)

    def _forget(self, digest: str) -> None:
        self._runner.cache.forget(digest)

    def _kv_use(self) -> float:
        """By the contexts that rows build on, each counted once; others that are cached make way when need be."""
        held = {id(row.near): row.near for row in self._active.values() if row.near is not None}
        return sum(context.size_bytes for context in held.values()) / self._runner.cache.capacity_bytes

    def _round(self, rows: Sequence[Row]) -> None:
        """Let every row make its decision, and those that follow from accepted guesses."""
        started = time.perf_counter()
        before = self.num_decisions
        left_to = self._delegate
        delegated = [] if left_to is None else [row for row in rows if self._is_delegated(row)]
        if left_to is not None and delegated:
            contexts = left_to.runner.run([left_to.query(row.tokens) for row in delegated])
            self._decide(
                [(row, context) for row, [context] in zip(delegated, contexts, strict=True)], are_delegated=True
            )
        own = [row for row in rows if row not in delegated] if delegated else rows
        has_drafts = self.drafter is not None and self._meter.wants_drafts(len(own))
        if own:
            self._verify(own, self._drafts(own, has_drafts=has_drafts))
        if self.drafter is not None:
            duration_s = time.perf_counter() - started
            made = self.num_decisions - before
            self._meter.record(len(own), drafted=has_drafts, num_decisions=made, duration_s=duration_s)

    def _drafts(self, rows: Sequence[Row], *, has_drafts: bool) -> list[DraftPath]:
        paths = [DraftPath(self._vocabulary, row, self._num_draft_tokens if has_drafts else 0) for row in rows]
        if has_drafts and self.drafter is not None:
            self.drafter.propose(paths)
        return paths

    def _verify(self, rows: Sequence[Row], paths: Sequence[DraftPath]) -> None:
        """One pass over rows and their drafts; a guess stays while it is what the model itself draws."""
        queries = [
            ContextQuery(
                row.adapter.digest,
                (*row.tokens, *path.tokens)[: path.lengths[-1]],
                tuple(path.lengths),
                near=row.near,
                is_kept=sum(row.logprobs) >= _LEAST_KEPT_LOGPROB,
            )
            for row, path in zip(rows, paths, strict=True)
        ]
        walks = [
            _Walk(row, path, contexts)
            for row, path, contexts in zip(rows, paths, self._runner.run(queries), strict=True)
        ]
        for row in rows:
            row.num_passes += 1
        on_their_way = walks
        while on_their_way:
            tokens = self._decide([(walk.row, walk.context) for walk in on_their_way])
            on_their_way = [walk for walk, token in zip(on_their_way, tokens, strict=True) if walk.goes_on(token)]
        for walk in walks:
            walk.row.count_draft(len(walk.path.choices), walk.num_accepted)

    def _decide(self, places: Sequence[tuple[Row, Context]], *, are_delegated: bool = False) -> list[int]:
        """Draw one token for each row from the legal distribution after its context, and follow what it forces."""
        distributions = self._distributions(places)
        keys, positions = [row.key for row, _ in places], [len(row.token_ids) for row, _ in places]
        drawn = draw_many(distributions, keys, positions)
        for (row, _), distribution, (token, logprob) in zip(places, distributions, drawn, strict=True):
            row.decide(token, logprob, distribution.log_legal_mass, is_delegated=are_delegated)
            row.advance(self._vocabulary)
        self.num_decisions += len(places)
        return [token for token, _ in drawn]

    def _distributions(self, places: Sequence[tuple[Row, Context]]) -> list[LegalDistribution]:
        """The legal distributions after contexts, each worked out once for all rows that come by."""
        found: dict[tuple[int, _Key], LegalDistribution] = {}
        missing: dict[tuple[int, _Key], tuple[Row, Context]] = {}
        wanted: list[tuple[int, _Key]] = []
        for row, context in places:
            key = (row.request.grammar.digest, len(row.token_ids), row.request.sampling)
            wanted.append((id(context), key))
            known = context.distributions.get(key)
            if known is not None:
                found[wanted[-1]] = known
            else:
                missing[wanted[-1]] = (row, context)
        if missing:
            logits = np.stack([context.logits for _, context in missing.values()])
            legal = [row.state.legal for row, _ in missing.values() if row.state is not None]
            samplings = [row.request.sampling for row, _ in missing.values()]
            made = legal_distributions(logits, legal, samplings)
            for place, ids, distribution in zip(missing, legal, made, strict=True):
                found[place] = distribution
                kept = missing[place][1].distributions
                if len(ids) <= _MOST_CACHED_IDS and len(kept) < _MOST_CACHED_DISTRIBUTIONS:
                    kept[place[1]] = distribution
        return [found[place] for place in wanted]

    def _is_delegated(self, row: Row) -> bool:
        """Whether the small model writes the next token: outside of the fields marked as decisions, where some are."""
        grammar = row.request.grammar
        return bool(grammar.decisions) and not is_decision(grammar, self._vocabulary.text(row.token_ids))
