"""BatchedEngine: what every engine does around the model: the queue, adapters in use, deadlines, cancellation.

submit ──▶ queue ──▶ in the making (at most max_batch) ──▶ finished ──▶ step returns it
│    ▲
└────┘  one round of the model; a row that ends is replaced before the next round
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from olal.errors import ConfigError
from olal.inference.adapter_slots import AdapterSlots
from olal.inference.length_judge import LengthJudge
from olal.inference.prompts import encode_messages
from olal.inference.row import Row
from olal.inference.sampler import noise_key
from olal.inference.speculation import Drafter
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Completion, EngineLoad, GenerateRequest, Message, Score, ScoreRequest


class BatchedEngine(ABC):
    """The part of `olal.inference.base.Engine` that does not depend on who runs the model."""

    def __init__(
        self, network: PolicyNetwork, *, max_batch: int, drafter: Drafter | None, clock: Callable[[], float]
    ) -> None:
        """Start with the untrained adapter, version 0.

        Args:
            network: tokenizer, vocabulary and adapter layout; a subclass says whether its weights are used.
            max_batch: most rows in the making at once.
            drafter: guesses ahead; None for no speculation.
            clock: monotonic seconds.
        """
        self._tokenizer, self._vocabulary = network.base.tokenizer, network.base.vocabulary
        self._adapters = AdapterSlots(network.bank)
        self._judge = LengthJudge(self._vocabulary)
        self._max_batch = max_batch
        self._clock = clock
        self._ids = itertools.count()
        self._queue: deque[Row] = deque()
        self._active: OrderedDict[int, Row] = OrderedDict()
        self._finished: list[tuple[int, Completion]] = []
        self._replaced: set[str] = set()
        self.drafter = drafter

    @property
    @abstractmethod
    def max_context(self) -> int:
        """Most tokens of a prompt and its completion."""

    @abstractmethod
    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given tokens."""

    @abstractmethod
    def _round(self, rows: Sequence[Row]) -> None:
        """Let rows that wait for a decision make one, or several, with one pass of the model at most."""

    @abstractmethod
    def _forget(self, digest: str) -> None:
        """Drop what was computed under an adapter that nobody uses any more."""

    @abstractmethod
    def _begin(self, row: Row) -> None:
        """A row has come to its first decision."""

    @abstractmethod
    def _end(self, rows: Sequence[Row]) -> None:
        """Rows have stopped."""

    @abstractmethod
    def _kv_use(self) -> float:
        """Part of the memory for keys and values that rows in the making hold."""

    @property
    def _num_preempted(self) -> int:
        """Times that a row in the making lost its keys and values to another."""
        return 0

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

    def load(self) -> EngineLoad:
        """How much there is to do, and how much room is left."""
        return EngineLoad(len(self._active), len(self._queue), self._kv_use(), self._num_preempted)

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Prompt tokens by the model's chat template; without one, the contents joined by line breaks."""
        return encode_messages(self._tokenizer, messages)

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
        elif is_current and not any(row.adapter.digest == update.digest for row in self._rows()):
            self._forget(update.digest)  # a new version of the same weights starts anew, as it does after a resume

    def unload_adapter(self, digest: str) -> None:
        """Forget an adapter and its contexts; an unknown digest is ignored.

        Raises:
            ConfigError: it is the current one, or a request in flight uses it.
        """
        if any(row.adapter.digest == digest for row in self._rows()):
            raise ConfigError(f"a request in flight uses this adapter; finish or cancel it first: {digest}")
        self._adapters.drop(digest)
        self._forget(digest)

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Sample one completion per request, in order; requests submitted before go on beside them."""
        wanted = [self.submit(request) for request in requests]
        missing, answers = set(wanted), dict[int, Completion]()
        others: list[tuple[int, Completion]] = []
        while missing:
            for request_id, completion in self.step():
                if request_id in missing:
                    answers[request_id] = completion
                    missing.remove(request_id)
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
            if row.stop_reason is None:
                self._begin(row)
        waiting = [row for row in self._active.values() if row.stop_reason is None]
        if waiting:
            self._round(waiting)
        self._retire()
        self._drop_replaced()
        finished, self._finished = self._finished, []
        return finished

    def _check(self, request: GenerateRequest) -> None:
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        needed = len(request.prompt_token_ids) + request.sampling.max_tokens
        if needed > self.max_context:
            raise ConfigError(
                f"prompt and completion need {needed} tokens, the model holds {self.max_context}; "
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
        stopped = [row for row in self._rows() if row.stop_reason is not None]
        if not stopped:
            return
        self._end(stopped)
        for row in stopped:
            if self._active.pop(row.request_id, None) is None:
                self._queue.remove(row)
            self._judge.judge(row)
            if self.drafter is not None and row.stop_reason == "grammar":
                self.drafter.observe(row.tokens)
            self._finished.append((row.request_id, row.completion(self._vocabulary)))

    def _drop_replaced(self) -> None:
        if not self._replaced:
            return
        in_use = {row.adapter.digest for row in self._rows()}
        for digest in self._replaced - in_use:
            self._adapters.drop(digest)
            self._forget(digest)
        self._replaced &= in_use
