"""Everything that can be found wrong with a config before a cluster is started or a file written."""

from __future__ import annotations

from olal.config import RunConfig
from olal.envs import Environment
from olal.errors import ConfigError
from olal.experiments.build import build_env
from olal.experiments.build_engine import has_vllm
from olal.models.model_path import resolve_model_path


def check_config(config: RunConfig) -> Environment:
    """Build one environment, ask it for a grammar, and look at the model directory.

    Returns:
        The environment, reset, for whoever needs one.

    Raises:
        ConfigError: the environment, its action space, the model or the engine cannot be used.
    """
    if config.engine.kind == "vllm" and not has_vllm():
        raise ConfigError(
            "vLLM is not installed in this environment; run `make setup-vllm` and use .venv-vllm/bin/olal, "
            "or take --engine transformers"
        )
    resolve_model_path(config.model.path)
    env = build_env(config)
    try:
        env.reset(0)
    except ConfigError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"the environment {config.env.id} cannot be reset ({reason})") from error
    env.action_grammar()
    return env
