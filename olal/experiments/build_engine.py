"""From a config to the engine of one rollout worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from olal.config import RunConfig

if TYPE_CHECKING:
    from olal.inference.transformers_engine import TransformersEngine
    from olal.models.policy_network import PolicyNetwork

_REMEMBERED_TEXTS = 512


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
