"""The transformers engine: grammar-constrained sampling on any Hugging Face causal language model.

Every decision needs the logits after one context. Forced tokens never reach the model by themselves: they are appended
and run together with the next decision's context. Contexts are cached, so rows that share a prompt share the pass; with
a drafter a pass reaches over several decisions of a row.

    row:    prompt  {"moves":["   ?          "]}  EOS
                    forced         decision   forced        one pass for the whole action
"""

from __future__ import annotations

import itertools
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from olal.errors import ConfigError
from olal.grammar.json_path import is_decision
from olal.inference.adapter_slots import AdapterSlots
from olal.inference.context_cache import Context
from olal.inference.contexts import ContextQuery, ContextRunner
from olal.inference.length_judge import LengthJudge
from olal.inference.prompts import encode_messages
from olal.inference.row import Row
from olal.inference.sampler import LegalDistribution, draw_many, legal_distributions, noise_key
from olal.inference.scoring import TrieScorer
from olal.inference.speculation import Drafter, DraftPath, SpeculationMeter
from olal.inference.speculation.draft_model import DraftModel
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Completion, GenerateRequest, Message, SamplingParams, Score, ScoreRequest

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


class TransformersEngine:
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
        self._network = network
        self._vocabulary = network.base.vocabulary
        self._max_batch = max_batch
        self._max_context = int(getattr(network.base.network.config, "max_position_embeddings", 1 << 30))
        self._adapters = AdapterSlots(network.bank)
        self._runner = ContextRunner(network, self._adapters.use, cache_bytes=kv_cache_bytes, width=max_batch)
        self._scorer = TrieScorer(network, self._adapters, self._runner.cache, width=max_batch)
        self._drafter, self._num_draft_tokens, self._delegate = drafter, num_draft_tokens, delegate
        self._meter = SpeculationMeter()
        self._judge = LengthJudge(self._vocabulary)
        self._clock = clock
        self._ids = itertools.count()
        self._queue: deque[Row] = deque()
        self._active: OrderedDict[int, Row] = OrderedDict()
        self._finished: list[tuple[int, Completion]] = []
        self._replaced: set[str] = set()
        self.num_decisions = 0

    @property
    def num_passes(self) -> int:
        """Model passes made for generation so far."""
        return self._runner.num_passes

    @property
    def adapter_version(self) -> int:
        """Version of the current adapter."""
        return self._adapters.current.version

    @property
    def adapter_digest(self) -> str:
        """Digest of the current adapter."""
        return self._adapters.current.digest

    @property
    def num_unfinished(self) -> int:
        """Requests whose completion has not been returned yet."""
        return len(self._queue) + len(self._active) + len(self._finished)

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Prompt tokens by the model's chat template; without one, the contents joined by line breaks."""
        return encode_messages(self._network.base.tokenizer, messages)

    def load_adapter(self, update: AdapterUpdate, *, is_current: bool = True) -> None:
        """Load an adapter; requests in flight end under the one they began with.

        Raises:
            AdapterMismatch: its size or digest is not that of this model's layout.
        """
        replaced = self._adapters.load(update, is_current=is_current)
        self._replaced.discard(update.digest)
        if replaced is not None:
            self._replaced.add(replaced)
            self._drop_replaced()

    def unload_adapter(self, digest: str) -> None:
        """Forget an adapter and its contexts; an unknown digest is ignored.

        Raises:
            ConfigError: it is the current one, or a request in flight uses it.
        """
        if any(row.adapter.digest == digest for row in self._rows()):
            raise ConfigError(f"a request in flight uses this adapter; finish or cancel it first: {digest}")
        self._adapters.drop(digest)
        self._runner.cache.forget(digest)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Sample one completion per request, in order."""
        wanted = {self.submit(request): place for place, request in enumerate(requests)}
        answers: dict[int, Completion] = {}
        others: list[tuple[int, Completion]] = []
        while len(answers) < len(wanted):
            for request_id, completion in self.step():
                if request_id in wanted:
                    answers[request_id] = completion
                else:
                    others.append((request_id, completion))
        self._finished.extend(others)
        return [answers[request_id] for request_id in wanted]

    def submit(self, request: GenerateRequest) -> int:
        """Queue a request and return its id."""
        row = Row(next(self._ids), request, self._adapters.current, noise_key(request.seed))
        if request.deadline_s is not None:
            row.deadline = self._clock() + request.deadline_s
        try:
            row.adapter = self._adapters.resolve(request.adapter)
            self._check(request)
        except ConfigError as error:
            row.fail(error)
        row.token_ids.extend(request.prefix)
        self._queue.append(row)
        return row.request_id

    def cancel(self, request_id: int) -> None:
        """Stop a request; an id that is unknown or already returned is ignored."""
        for row in self._rows():
            if row.request_id == request_id:
                row.stop_reason = row.stop_reason or "cancelled"

    def step(self) -> list[tuple[int, Completion]]:
        """Run the model once at most for all rows in the making; return those that finished."""
        self._stop_late_rows()
        self._retire()
        while self._queue and len(self._active) < self._max_batch:
            row = self._queue.popleft()
            self._active[row.request_id] = row
            row.advance(self._vocabulary)
        waiting = [row for row in self._active.values() if row.stop_reason is None]
        if waiting:
            self._round(waiting)
        self._retire()
        self._drop_replaced()
        finished, self._finished = self._finished, []
        return finished

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given tokens; sequences that begin alike share what they share."""
        return self._scorer.score(requests)

    def _check(self, request: GenerateRequest) -> None:
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        needed = len(request.prompt_token_ids) + request.sampling.max_tokens
        if needed > self._max_context:
            raise ConfigError(
                f"prompt and completion need {needed} tokens, the model holds {self._max_context}; "
                f"shorten the prompt or lower rollout.max_tokens: {len(request.prompt_token_ids)} prompt tokens"
            )

    def _rows(self) -> list[Row]:
        return [*self._active.values(), *self._queue]

    def _stop_late_rows(self) -> None:
        now = self._clock()
        for row in self._rows():
            if row.stop_reason is None and row.deadline is not None and now >= row.deadline:
                row.stop_reason = "deadline"

    def _retire(self) -> None:
        """Move stopped rows to the finished ones."""
        for row in [row for row in self._rows() if row.stop_reason is not None]:
            if self._active.pop(row.request_id, None) is None:
                self._queue.remove(row)
            self._judge.judge(row)
            if row.near is not None:
                self._runner.keep(row.adapter.digest, row.near)
            if self._drafter is not None and row.stop_reason == "grammar":
                self._drafter.observe(row.tokens)
            self._finished.append((row.request_id, row.completion(self._vocabulary)))

    def _drop_replaced(self) -> None:
        in_use = {row.adapter.digest for row in self._rows()}
        for digest in self._replaced - in_use:
            self._adapters.drop(digest)
            self._runner.cache.forget(digest)
        self._replaced &= in_use

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
        has_drafts = self._drafter is not None and self._meter.wants_drafts(len(own))
        if own:
            self._verify(own, self._drafts(own, has_drafts=has_drafts))
        if self._drafter is not None:
            duration_s = time.perf_counter() - started
            made = self.num_decisions - before
            self._meter.record(len(own), drafted=has_drafts, num_decisions=made, duration_s=duration_s)

    def _drafts(self, rows: Sequence[Row], *, has_drafts: bool) -> list[DraftPath]:
        paths = [DraftPath(self._vocabulary, row, self._num_draft_tokens if has_drafts else 0) for row in rows]
        if has_drafts and self._drafter is not None:
            self._drafter.propose(paths)
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
