"""VllmEngine: the Engine protocol on vLLM, in this process.

vLLM batches, pages keys and values, caches prefixes and runs many adapters in one pass. What is sampled is olal's: the
draws of `olal.inference.sampler`, the forced tokens and the drafts are those of the transformers engine, so the same
seed gives the same completion on both wherever their logits agree.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.errors import ConfigError, GrammarError
from olal.inference.adapter_slots import AdapterSlots
from olal.inference.length_judge import LengthJudge
from olal.inference.prompts import encode_messages
from olal.inference.row import Row
from olal.inference.sampler import noise_key
from olal.inference.speculation import Drafter
from olal.inference.vllm.core import CoreSettings, VllmCore
from olal.inference.vllm.scoring import ScoreJob, ScoreTable
from olal.inference.vllm.seats import SeatTable
from olal.models.model_path import resolve_model_path
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate, Completion, GenerateRequest, Message, Score, ScoreRequest

_MOST_AHEAD = 32


class VllmEngine:
    """Engine over vLLM; see `olal.inference.base.Engine` for the contract."""

    def __init__(
        self,
        network: PolicyNetwork,
        *,
        dtype: Literal["float32", "bfloat16"] = "float32",
        kv_cache_bytes: int = 256 << 20,
        max_batch: int = 256,
        max_adapters: int = 16,
        drafter: Drafter | None = None,
        num_draft_tokens: int = 8,
        block_size: int = 32,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start vLLM with the untrained adapter, version 0.

        Args:
            network: names, shapes and tokenizer of the model; its weights are not used and may be hollow.
            dtype: of the base weights in vLLM.
            kv_cache_bytes: memory for keys and values.
            max_batch: most rows in the making at once; a finished one is replaced by the next that waits.
            max_adapters: most adapters in one pass; rows of more wait for a later one.
            drafter: guesses ahead; None for no speculation.
            num_draft_tokens: most decisions guessed per row and pass.
            block_size: tokens of one block of the prefix cache.
            threads: CPU threads of a model pass.
            clock: monotonic seconds.

        Raises:
            ConfigError: vLLM is not installed, or refuses these settings.
        """
        base, bank = network.base, network.bank
        self._tokenizer, self._vocabulary = base.tokenizer, base.vocabulary
        self._adapters, self._layout = AdapterSlots(bank), bank.layout
        most = max(_MOST_AHEAD, num_draft_tokens)
        self._table = SeatTable(base.vocabulary, drafter, num_choices=num_draft_tokens, num_tokens=most)
        self._scores, self._judge = ScoreTable(base.vocabulary), LengthJudge(base.vocabulary)
        settings = CoreSettings(
            path=resolve_model_path(base.path),
            dtype=dtype,
            rank=int(bank.peft_config["r"]),
            max_batch=max_batch,
            max_adapters=max_adapters,
            kv_cache_bytes=kv_cache_bytes,
            num_draft_tokens=most,
            block_size=block_size,
            threads=threads,
        )
        self._core = VllmCore(settings, self._table, self._scores, self._tensors_of, bank.peft_config)
        self._max_batch = max_batch
        self._clock = clock
        self._ids = itertools.count()
        self._queue: deque[Row] = deque()
        self._active: OrderedDict[int, Row] = OrderedDict()
        self._finished: list[tuple[int, Completion]] = []
        self._replaced: set[str] = set()

    @property
    def drafter(self) -> Drafter | None:
        """Who guesses ahead; another one may take over between two steps, since no draw depends on it."""
        return self._table.drafter

    @drafter.setter
    def drafter(self, drafter: Drafter | None) -> None:
        self._table.drafter = drafter

    @property
    def num_passes(self) -> int:
        """Model passes so far."""
        return self._core.num_passes

    @property
    def num_decisions(self) -> int:
        """Tokens drawn so far."""
        return self._table.num_decisions

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

    def unload_adapter(self, digest: str) -> None:
        """Forget an adapter and its contexts; an unknown digest is ignored.

        Raises:
            ConfigError: it is the current one, or a request in flight uses it.
        """
        if any(row.adapter.digest == digest for row in self._rows()):
            raise ConfigError(f"a request in flight uses this adapter; finish or cancel it first: {digest}")
        self._adapters.drop(digest)
        self._core.forget_adapter(digest)

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
            if row.stop_reason is None:
                self._seat(row)
        num_waiting = sum(row.stop_reason is None for row in self._active.values())
        if num_waiting:
            self._run(num_waiting)
        self._retire()
        self._drop_replaced()
        finished, self._finished = self._finished, []
        return finished

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given tokens; rows in the making go on beside them."""
        answers: list[Score | None] = [None] * len(requests)
        jobs: dict[int, ScoreJob] = {}
        for index, request in enumerate(requests):
            try:
                adapter = self._adapters.resolve(request.adapter).digest
                jobs[index] = self._scores.prepare(request, adapter, self._core.max_context)
            except (ConfigError, GrammarError) as error:
                answers[index] = Score((), (), (), str(error).splitlines()[0])
        self._read({f"score-{next(self._ids)}": job for job in jobs.values() if job.positions})
        for index, job in jobs.items():
            answers[index] = job.answer()
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """Give up the model and its memory."""
        self._core.close()

    def _tensors_of(self, digest: str) -> dict[str, NDArray[np.float32]]:
        return self._layout.split(self._adapters.resolve(digest).flat.numpy())

    def _check(self, request: GenerateRequest) -> None:
        if not request.prompt_token_ids:
            raise ConfigError("a prompt must have at least one token, for a model to continue: none given")
        needed = len(request.prompt_token_ids) + request.sampling.max_tokens
        if needed > self._core.max_context:
            raise ConfigError(
                f"prompt and completion need {needed} tokens, the model holds {self._core.max_context}; "
                f"shorten the prompt or lower rollout.max_tokens: {len(request.prompt_token_ids)} prompt tokens"
            )

    def _rows(self) -> list[Row]:
        return [*self._active.values(), *self._queue]

    def _seat(self, row: Row) -> None:
        """Hand a row that waits for a decision to vLLM."""
        self._table.sit(str(row.request_id), row)
        self._core.add(
            str(row.request_id), row.tokens, row.adapter.digest, row.request.grammar.text, tuple(row.token_ids)
        )

    def _run(self, num_waiting: int) -> None:
        """One model pass; the draws are made within it."""
        started, before, drafted = time.perf_counter(), self.num_decisions, self._table.has_drafts
        self._core.step()
        if self.drafter is not None:
            made, duration_s = self.num_decisions - before, time.perf_counter() - started
            self._table.meter.record(num_waiting, drafted=drafted, num_decisions=made, duration_s=duration_s)

    def _read(self, jobs: dict[str, ScoreJob]) -> None:
        """Run sequences as prompts until all that was asked for is read."""
        self._scores.jobs.update(jobs)
        for name, job in jobs.items():
            self._core.add(name, job.sequence, job.adapter)
        while self._core.has(jobs):
            self._core.step()
            self._leave([row for row in self._active.values() if row.stop_reason is not None])
        self._scores.jobs.clear()

    def _stop_late_rows(self) -> None:
        now = self._clock()
        for row in self._rows():
            if row.stop_reason is None and row.deadline is not None and now >= row.deadline:
                row.stop_reason = "deadline"

    def _leave(self, rows: Sequence[Row]) -> None:
        """Take stopped rows out of vLLM's batch."""
        names = [str(row.request_id) for row in rows]
        names = [name for name in names if self._table.seats.pop(name, None) is not None]
        self._core.abort(names)

    def _retire(self) -> None:
        """Move stopped rows to the finished ones."""
        stopped = [row for row in self._rows() if row.stop_reason is not None]
        self._leave(stopped)
        for row in stopped:
            if self._active.pop(row.request_id, None) is None:
                self._queue.remove(row)
            self._judge.judge(row)
            if self.drafter is not None and row.stop_reason == "grammar":
                self.drafter.observe(row.tokens)
            self._finished.append((row.request_id, row.completion(self._vocabulary)))

    def _drop_replaced(self) -> None:
        in_use = {row.adapter.digest for row in self._rows()}
        for digest in self._replaced - in_use:
            self._adapters.drop(digest)
            self._core.forget_adapter(digest)
        self._replaced &= in_use
