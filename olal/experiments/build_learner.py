"""From a config to its learner: one, or several in stages on one adapter."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from olal.config import RunConfig
from olal.experiments.build import build_network, build_seed_space
from olal.experiments.python_class import check_options, load_class

if TYPE_CHECKING:
    from olal.learners.base import Learner
    from olal.models.policy_network import PolicyNetwork

BUILT_IN: Mapping[str, str] = {
    "ppo": "ppo:PPOLearner",
    "grpo": "critic_free:CriticFreeLearner",
    "rloo": "critic_free:CriticFreeLearner",
    "reinforce": "critic_free:CriticFreeLearner",
    "rwr": "rwr:RWRLearner",
    "sft": "sft:SFTLearner",
    "simpo": "simpo:SimPOLearner",
    "value": "value:ValueLearner",
}
"""Kind to module and class in `olal.learners`; each class has its settings in `settings_class`."""


def build_learner(config: RunConfig) -> tuple[Learner, PolicyNetwork]:
    """The learner and the network it learns on, in whose layout its checkpoints are written.

    A learner on several processes must be built in a Ray actor: the others get the CPUs and GPUs that this one has.

    Raises:
        ConfigError: a class of the user's cannot be had.
        ModelInvalid: the model cannot be loaded or has no module to adapt.
    """
    if config.num_learner_processes == 1:
        return build_replica(config)
    import ray

    from olal.actors.learner_group import LearnerGroup, SeedLearnerGroup

    own = ray.get_runtime_context().get_assigned_resources()
    share = (own.get("CPU", 0.0), own.get("GPU", 0.0))
    kinds = [stage.learner.kind for stage in config.plan]
    group_class = SeedLearnerGroup if "mezo" in kinds else LearnerGroup
    group = group_class(partial(build_replica, config), config.num_learner_processes, share)
    return group, group.learned_on


def build_replica(config: RunConfig) -> tuple[Any, PolicyNetwork]:
    """The learner of one process; see `build_learner`."""
    from olal.learners.staged import chain

    network = build_network(config)
    learners: list[Any] = []
    since = 0
    for number, stage in enumerate(config.plan):
        part = config.model_copy(update={"learner": stage.learner, "seed": config.seed + number})
        learners.append(make_learner(part, network, stage.updates, since))
        since += stage.updates
    if len(learners) == 1:
        return learners[0], network
    return chain(learners, [stage.updates for stage in config.plan]), network


def make_learner(config: RunConfig, network: PolicyNetwork, updates: int, since: int) -> Learner:
    """The learner of `config.learner`.

    Args:
        config: of one stage.
        network: base model and bank.
        updates: over which its learning rate falls.
        since: version at which it starts.
    """
    from olal.learners.schedule import LinearDecay

    given: Any = config.learner
    rate = LinearDecay(given.learning_rate, given.lr_final_fraction, updates, since)
    if given.kind == "mezo":
        from olal.learners.mezo import MeZOLearner, MeZOSettings

        space = build_seed_space(config, network.bank)
        return MeZOLearner(network, fill_settings(MeZOSettings, config), rate, seed=config.seed, space=space)
    if given.kind == "es":
        from olal.learners.es import ESLearner, ESSettings

        space = build_seed_space(config, network.bank)
        return ESLearner(network, fill_settings(ESSettings, config), rate, seed=config.seed, space=space)
    kind = learner_class(config)
    critic = critic_class(config)
    options: dict[str, Any] = {} if critic is None else {"make_critic": critic}
    return kind(network, fill_settings(kind.settings_class, config), rate, seed=config.seed, **options)


def learner_class(config: RunConfig) -> Any:
    """The class of a gradient learner, built in or the user's."""
    given: Any = config.learner
    if given.kind == "python":
        from olal.learners.gradient import GradientLearner

        return load_class(given.target, GradientLearner, "learner.target")
    module, _, name = BUILT_IN[given.kind].partition(":")
    return getattr(importlib.import_module(f"olal.learners.{module}"), name)


def critic_class(config: RunConfig) -> Any:
    """The user's critic; None where the learner has the built-in one, or none."""
    path = getattr(config.learner, "critic", "head")
    if path == "head":
        return None
    from olal.learners.critic import Critic

    return load_class(path, Critic, "learner.critic")


def fill_settings(kind: Callable[..., Any], config: RunConfig) -> Any:
    """Fill a learner's settings from the config fields of the same name; the temperature is that of the rollouts.

    Raises:
        ConfigError: an option of the user's is no field of the settings.
    """
    fields = inspect.signature(kind).parameters
    given: dict[str, Any] = {**config.learner.model_dump(), "temperature": config.rollout.temperature}
    options: dict[str, Any] = given.pop("options", {})
    check_options(options, fields, "learner.options")
    return kind(**{name: value for name, value in {**given, **options}.items() if name in fields})
