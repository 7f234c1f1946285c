"""From a config to the plain objects of one process. The only place that reads component configs.

Nothing heavy is imported here at module level: the functions run inside the actors, where torch belongs.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from olal.agents import PromptAgent
from olal.config import RunConfig
from olal.envs import Environment, make_env
from olal.errors import ConfigError
from olal.experiments.python_class import check_options, load_class

if TYPE_CHECKING:
    from olal.adapters import SeedSpace
    from olal.inference import Engine
    from olal.models.lora_bank import LoraBank
    from olal.models.policy_network import PolicyNetwork
    from olal.rollout import Deadlines, RewardFunction, RolloutWorker


def build_env(config: RunConfig) -> Environment:
    """One environment.

    Raises:
        EnvironmentUnknown: no such environment or option.
        ActionSpaceUnsupported: its actions have no grammar.
    """
    env = config.env
    return make_env(
        env.id,
        env.options,
        max_turns=env.max_turns,
        action_names=env.action_names,
        render=env.render,
        digits=env.digits,
    )


def build_network(config: RunConfig, *, is_hollow: bool = False) -> PolicyNetwork:
    """Base model and LoRA bank, with the adapter that every process of the run starts from.

    Args:
        config: of the run.
        is_hollow: leave the weights out, for an engine that holds them itself.

    Raises:
        ModelInvalid: the model cannot be loaded or has no module to adapt.
    """
    from olal.models.base_model import load_base_model
    from olal.models.hollow_model import load_hollow_model
    from olal.models.lora_bank import LoraBank
    from olal.models.policy_network import PolicyNetwork

    model = config.model
    if is_hollow:
        base = load_hollow_model(model.path, dtype=model.dtype)
    else:
        base = load_base_model(model.path, dtype=model.dtype, device=model.device, threads=model.threads)
    bank = LoraBank(
        base.network,
        rank=config.adapter.rank,
        alpha=config.adapter.alpha,
        targets=config.adapter.targets,
        seed=config.seed,
    )
    return PolicyNetwork(base, bank)


def build_engine(config: RunConfig) -> tuple[Engine, PolicyNetwork]:
    """The engine that samples actions, and the network whose vocabulary and adapter layout it has.

    Raises:
        ConfigError: the engine is not installed or refuses the settings.
        ModelInvalid: the model cannot be loaded or has no module to adapt.
    """
    from olal.experiments.build_engine import build_transformers_engine, build_vllm_engine, choose_engine

    if choose_engine(config) == "vllm":
        network = build_network(config, is_hollow=True)
        return build_vllm_engine(config, network), network
    network = build_network(config)
    return build_transformers_engine(config, network), network


def build_seed_space(config: RunConfig, bank: LoraBank) -> SeedSpace:
    """The rules by which seeds become moves of this run's adapter; the same in every process."""
    from olal.adapters import SeedSpace
    from olal.models.model_identity import model_identity

    subspace: Any = getattr(config.learner, "subspace", "full")
    return SeedSpace(bank.layout, bank.initial, subspace=subspace, base=model_identity(config.model.path))


def build_reward(config: RunConfig) -> RewardFunction | None:
    """The user's reward function; None for the environment's own reward.

    Raises:
        ConfigError: there is no such class, or it refuses its options.
    """
    from olal.rollout import RewardFunction

    if config.reward.target is None:
        return None
    kind: Any = load_class(config.reward.target, RewardFunction, "reward.target")
    check_options(config.reward.options, inspect.signature(kind).parameters, "reward.options")
    try:
        return kind(**config.reward.options)
    except Exception as error:  # a constructor refuses its options with whatever it likes
        raise ConfigError(f"reward.options: {kind.__name__} refused them ({type(error).__name__}: {error})") from error


def build_worker(config: RunConfig, index: int) -> RolloutWorker:
    """Everything one rollout worker needs."""
    from olal.adapters import AdapterFollower
    from olal.rollout import AdaptiveConcurrency, Collector, EpisodeStream, RolloutWorker

    engine, network = build_engine(config)
    follower = AdapterFollower(build_seed_space(config, network.bank))
    common: dict[str, Any] = {
        "worker": index,
        "reward": build_reward(config),
        "follower": follower,
        "limits": build_deadlines(config),
    }
    parts = (lambda: build_env(config)), (lambda env: PromptAgent(env.instructions)), engine
    collector = Collector(*parts, **common, max_parallel=config.rollout.max_parallel)
    stream = EpisodeStream(*parts, **common, concurrency=AdaptiveConcurrency(config.rollout.max_parallel))
    return RolloutWorker(engine, collector, stream, follower, network.base.vocabulary.size)


def build_deadlines(config: RunConfig) -> Deadlines:
    """How long environments may take."""
    from olal.rollout import Deadlines

    return Deadlines(step_s=config.rollout.step_timeout_s, episode_s=config.rollout.episode_timeout_s)
