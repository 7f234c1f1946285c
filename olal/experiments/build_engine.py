"""From a config to the engine of one rollout worker."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any, Literal

from olal.config import RunConfig

if TYPE_CHECKING:
    from olal.inference.transformers_engine import TransformersEngine
    from olal.inference.vllm.engine import VllmEngine
    from olal.models.policy_network import PolicyNetwork

_log = logging.getLogger(__name__)

_REMEMBERED_TEXTS = 512


def has_vllm() -> bool:
    """Whether vLLM is installed in this environment; does not import it."""
    return importlib.util.find_spec("vllm") is not None


def choose_engine(config: RunConfig) -> Literal["vllm", "transformers"]:
    """The engine that this process takes: `auto` is vLLM where it is installed and may use a GPU."""
    if config.engine.kind != "auto":
        return config.engine.kind
    from olal.models.base_model import resolve_device

    return "vllm" if has_vllm() and resolve_device(config.model.device) == "cuda" else "transformers"


def build_vllm_engine(config: RunConfig, network: PolicyNetwork) -> VllmEngine:
    """The vLLM engine for the model that `network`, which may be hollow, describes.

    Raises:
        ConfigError: vLLM is missing or refuses the settings, or the draft model has another vocabulary.
        ModelInvalid: the draft model cannot be loaded.
    """
    from olal.inference.vllm.engine import VllmEngine

    settings = config.engine
    if settings.speculation.role == "delegate":
        _log.warning("vLLM cannot let a small model write alone: it drafts what is no decision instead, which is exact")
        exact = settings.speculation.model_copy(update={"role": "structure"})
        config = config.model_copy(update={"engine": settings.model_copy(update={"speculation": exact})})
    return VllmEngine(
        network,
        dtype=config.model.dtype,
        kv_cache_bytes=settings.kv_cache_mb << 20,
        max_batch=settings.max_batch,
        num_draft_tokens=settings.speculation.num_tokens,
        threads=config.model.threads,
        **_speculation(config, network),
    )


def build_transformers_engine(config: RunConfig, network: PolicyNetwork) -> TransformersEngine:
    """The transformers engine over `network`, with its speculation.

    Raises:
        ConfigError: the draft model has another vocabulary.
        ModelInvalid: the draft model cannot be loaded.
    """
    from olal.inference.transformers_engine import TransformersEngine

    settings = config.engine
    return TransformersEngine(
        network,
        kv_cache_bytes=settings.kv_cache_mb << 20,
        max_batch=settings.max_batch,
        num_draft_tokens=settings.speculation.num_tokens,
        **_speculation(config, network),
    )


def _speculation(config: RunConfig, network: PolicyNetwork) -> dict[str, Any]:
    """Drafter or delegate, as the engine takes them."""
    from olal.inference.speculation.draft_model import DraftModel, DraftModelDrafter
    from olal.inference.speculation.ngram import NgramDrafter
    from olal.models.base_model import load_base_model
    from olal.models.causal_network import CausalNetwork

    settings = config.engine.speculation
    match settings.kind:
        case "none":
            return {}
        case "ngram":
            return {"drafter": NgramDrafter()}
        case "suffix":
            return {"drafter": NgramDrafter(num_remembered=_REMEMBERED_TEXTS)}
        case "draft_model":
            model = config.model
            base = load_base_model(settings.draft_model, dtype=model.dtype, device=model.device, threads=model.threads)
            draft = DraftModel(
                CausalNetwork(base),
                network.base,
                cache_bytes=config.engine.kv_cache_mb << 20,
                width=config.engine.max_batch,
            )
            if settings.role == "delegate":
                return {"delegate": draft}
            return {"drafter": DraftModelDrafter(draft, only_structure=settings.role == "structure")}
