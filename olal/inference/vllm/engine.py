"""VllmEngine: the Engine protocol on vLLM, in this process.

vLLM batches, pages keys and values, caches prefixes and runs many adapters in one pass. What is sampled is olal's: the
draws of `olal.inference.sampler`, the forced tokens and the drafts are those of the transformers engine, so the same
seed gives the same completion on both wherever their logits agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from olal.errors import ConfigError, GrammarError
from olal.inference.batched_engine import BatchedEngine
from olal.inference.row import Row
from olal.inference.speculation import Drafter
from olal.inference.vllm.core import CoreSettings, VllmCore
from olal.inference.vllm.scoring import ScoreJob, ScoreTable
from olal.inference.vllm.seats import SeatTable
from olal.models.model_path import resolve_model_path
from olal.models.policy_network import PolicyNetwork
from olal.types import Score, ScoreRequest

_MOST_AHEAD = 32


class VllmEngine(BatchedEngine):
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
        most = max(_MOST_AHEAD, num_draft_tokens)
        self._table = SeatTable(base.vocabulary, drafter, num_choices=num_draft_tokens, num_tokens=most)
        super().__init__(network, max_batch=max_batch, drafter=drafter, clock=clock)
        self._layout, self._scores = bank.layout, ScoreTable(base.vocabulary)
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

    @property
    def max_context(self) -> int:
        """Most tokens of a prompt and its completion."""
        return self._core.max_context

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

    def _kv_use(self) -> float:
        """By vLLM's own count of blocks; cached ones that nobody uses are free."""
        return self._core.kv_use

    @property
    def _num_preempted(self) -> int:
        """Rows that vLLM threw out of its batch for want of blocks, to be computed again."""
        return self._core.num_preempted

    def _tensors_of(self, digest: str) -> dict[str, NDArray[np.float32]]:
        return self._layout.split(self._adapters.resolve(digest).flat.numpy())

    def _begin(self, row: Row) -> None:
        """Hand a row that waits for a decision to vLLM."""
        self._table.sit(str(row.request_id), row)
        self._core.add(
            str(row.request_id), row.tokens, row.adapter.digest, row.request.grammar.text, tuple(row.token_ids)
        )

    def _round(self, rows: Sequence[Row]) -> None:
        """One model pass; the draws are made within it."""
        started, before, drafted = time.perf_counter(), self.num_decisions, self._table.has_drafts
        self._core.step()
        if self.drafter is not None:
            made, duration_s = self.num_decisions - before, time.perf_counter() - started
            self._table.meter.record(len(rows), drafted=drafted, num_decisions=made, duration_s=duration_s)

    def _read(self, jobs: dict[str, ScoreJob]) -> None:
        """Run sequences as prompts until all that was asked for is read."""
        self._scores.jobs.update(jobs)
        for name, job in jobs.items():
            self._core.add(name, job.sequence, job.adapter)
        while self._core.has(jobs):
            self._core.step()
            self._end([row for row in self._active.values() if row.stop_reason is not None])
        self._scores.jobs.clear()

    def _end(self, rows: Sequence[Row]) -> None:
        """Take stopped rows out of vLLM's batch."""
        names = [str(row.request_id) for row in rows]
        names = [name for name in names if self._table.seats.pop(name, None) is not None]
        self._core.abort(names)

    def _forget(self, digest: str) -> None:
        self._core.forget_adapter(digest)
