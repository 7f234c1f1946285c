"""Everything that can be found wrong with a config before a cluster is started or a file written."""

from __future__ import annotations

from pathlib import Path

from olal.config import RunConfig
from olal.envs import Environment
from olal.errors import ConfigError
from olal.experiments.build import build_env, build_reward
from olal.experiments.build_engine import has_vllm
from olal.experiments.build_learner import critic_class, fill_settings, learner_class
from olal.experiments.given_episodes import GivenEpisodes
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
    check_learners(config)
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


def check_learners(config: RunConfig) -> None:
    """Look for the classes and files of the user's that stages and reward name.

    Raises:
        ConfigError: one is missing, or is not what it should be.
    """
    build_reward(config)
    for stage in config.plan:
        part = config.model_copy(update={"learner": stage.learner})
        if stage.learner.kind == "python":
            fill_settings(learner_class(part).settings_class, part)
        critic_class(part)
        path = getattr(stage.learner, "trajectories", None)
        if path is not None:
            GivenEpisodes(Path(path), seed=config.seed)
        if stage.learner.kind == "es" and len(config.plan) > 1:
            raise ConfigError("es plays under perturbed adapters and cannot be one of several stages; run it alone")
