"""VllmCore: one vLLM engine core in this process.

    core = VllmCore(...)              # imports vLLM, which takes most of the start
    core.add(name, tokens, ...)       # a row; its draws are made in SeatTable, its scores read in ScoreTable
    core.step()                       # schedule, one model pass, draws, drafts for the next pass
    core.abort(names)

vLLM is imported when a core is made, after the environment variables that it reads at import are set.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from olal.errors import ConfigError
from olal.inference.vllm.scoring import ScoreTable
from olal.inference.vllm.seats import SeatTable

_FOLDER = __name__.rpartition(".")[0]
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class CoreSettings:
    """What vLLM is started with.

    Attributes:
        path: a model directory or hub name.
        dtype: of the base weights.
        rank: of every adapter.
        max_batch: most rows at once.
        max_adapters: most adapters in one pass; rows of more wait.
        kv_cache_bytes: memory for keys and values.
        num_draft_tokens: most tokens run ahead of a row, forced ones included.
        block_size: tokens of one block of the prefix cache.
        threads: CPU threads of a model pass.
    """

    path: str
    dtype: str
    rank: int
    max_batch: int
    max_adapters: int
    kv_cache_bytes: int
    num_draft_tokens: int
    block_size: int
    threads: int


class VllmCore:
    """An in-process engine core whose scheduler and worker are olal's."""

    def __init__(
        self,
        settings: CoreSettings,
        table: SeatTable,
        scores: ScoreTable,
        tensors_of: Callable[[str], dict[str, NDArray[np.float32]]],
        peft_config: dict[str, Any],
    ) -> None:
        """Start vLLM in this process.

        Args:
            settings: of the core.
            table: rows being sampled.
            scores: sequences being scored.
            tensors_of: named tensors of the adapter of a digest.
            peft_config: PEFT's description of every adapter.

        Raises:
            ConfigError: vLLM is not installed, or refuses these settings.
        """
        prepare_environment(has_gpu=torch.cuda.is_available(), threads=settings.threads)
        try:
            core = _start(settings)
        except ImportError as error:
            raise ConfigError(f"vLLM cannot be imported; run `make setup-vllm`: {error}") from error
        except (ValueError, NotImplementedError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"vLLM refuses these settings ({reason}): {settings.path}") from error
        core.scheduler.table = table
        core.collective_rpc("install", args=(table, scores, tensors_of, peft_config))
        self.max_context = int(core.vllm_config.model_config.max_model_len)
        self.num_passes = 0
        self._core = core
        self._adapter_ids: dict[str, int] = {}
        self._ids = itertools.count(1)

    @property
    def kv_use(self) -> float:
        """Part of the blocks of the KV cache that sequences hold."""
        return float(self._core.scheduler.kv_cache_manager.usage)

    @property
    def num_preempted(self) -> int:
        """Sequences that lost their blocks to others so far."""
        return int(self._core.scheduler.num_preempted)

    def add(
        self, name: str, tokens: Sequence[int], adapter: str, grammar: str | None = None, prefix: Sequence[int] = ()
    ) -> None:
        """Queue a sequence.

        Args:
            name: its id.
            tokens: all of it, `prefix` included.
            adapter: digest; also the name under which vLLM caches keys and values, so that none is ever stale.
            grammar: canonical text; None for a sequence to be scored, which is then read from its beginning.
            prefix: the last of the tokens, those that belong to the sentence already.
        """
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
        from vllm.sampling_params import (  # pyright: ignore[reportMissingImports]
            SamplingParams,
            StructuredOutputsParams,
        )
        from vllm.v1.engine import EngineCoreRequest  # pyright: ignore[reportMissingImports]

        structured = None if grammar is None else StructuredOutputsParams(grammar=grammar)
        params = SamplingParams(
            temperature=0.0,  # vLLM's sampler is not asked
            max_tokens=1 if grammar is None else self.max_context,
            ignore_eos=True,
            detokenize=False,
            structured_outputs=structured,
            skip_reading_prefix_cache=grammar is None,
            extra_args={"olal_prefix": list(prefix)},
        )
        if adapter not in self._adapter_ids:
            self._adapter_ids[adapter] = next(self._ids)
        request = EngineCoreRequest(
            request_id=name,
            prompt_token_ids=list(tokens),
            mm_features=None,
            sampling_params=params,
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=LoRARequest(adapter, self._adapter_ids[adapter], f"memory:{adapter}"),
            cache_salt=None,
            data_parallel_rank=None,
        )
        self._core.add_request(*self._core.preprocess_add_request(request))

    def abort(self, names: Sequence[str]) -> None:
        """Forget sequences; one that is unknown is ignored."""
        if names:
            self._core.abort_requests(list(names))

    def has(self, names: Iterable[str]) -> bool:
        """Whether one of these sequences is still to be run."""
        return any(name in self._core.scheduler.requests for name in names)

    def step(self) -> None:
        """Run the model once."""
        _, is_executed = self._core.step()
        self._core.post_step(is_executed)
        self.num_passes += is_executed

    def forget_adapter(self, digest: str) -> None:
        """Drop an adapter's matrices; its keys and values cannot be found without its digest and are overwritten."""
        adapter_id = self._adapter_ids.pop(digest, None)
        if adapter_id is not None:
            self._core.remove_lora(adapter_id)

    def close(self) -> None:
        """Give up the model and its memory."""
        self._core.shutdown()


def prepare_environment(*, has_gpu: bool, threads: int) -> None:
    """Set what vLLM reads while it is imported.

    In-process, so that adapters, grammars and draws need no copies; no torch.compile on a CPU, where it costs seconds
    of start and makes steps slower; nothing sent anywhere; the model runner that knows `custom_class` drafts.
    """
    wanted: Mapping[str, str] = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_USE_V2_MODEL_RUNNER": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    os.environ.update(wanted)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if not has_gpu:
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)  # from here on vLLM's CPU worker makes this call do nothing


def _start(settings: CoreSettings) -> Any:
    """The engine core."""
    for name in ("vllm", "torch._library.triton"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm.engine.arg_utils import EngineArgs  # pyright: ignore[reportMissingImports]
        from vllm.v1.engine.core import EngineCore  # pyright: ignore[reportMissingImports]
        from vllm.v1.executor import Executor  # pyright: ignore[reportMissingImports]

        if not torch.cuda.is_available():
            from olal.inference.vllm import padded_attention

            padded_attention.register()
        arguments = EngineArgs(
            model=settings.path,
            dtype=settings.dtype,
            enforce_eager=not torch.cuda.is_available(),
            max_num_seqs=settings.max_batch,
            max_num_batched_tokens=max(8192, settings.max_batch * (settings.num_draft_tokens + 1) + 1),
            kv_cache_memory_bytes=settings.kv_cache_bytes,
            block_size=settings.block_size,
            enable_prefix_caching=True,
            use_tqdm_on_load=False,
            async_scheduling=False,
            enable_lora=True,
            max_lora_rank=next((rank for rank in _RANKS if rank >= settings.rank), settings.rank),
            max_loras=settings.max_adapters,
            max_cpu_loras=4 * settings.max_adapters,
            scheduler_cls=f"{_FOLDER}.scheduler.ForcedScheduler",
            worker_extension_cls=f"{_FOLDER}.worker.WorkerExtension",
            speculative_config={
                "method": "custom_class",
                "model": f"{_FOLDER}.scheduler.ForcedProposer",
                "num_speculative_tokens": settings.num_draft_tokens,
            },
        )
        config = arguments.create_engine_config()
        core = EngineCore(config, Executor.get_class(config), log_stats=False)
    return core
