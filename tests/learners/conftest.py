"""Trajectories to learn from: played by an engine in real environments, or spelled out by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.grammar import Vocabulary
from olal.inference.transformers_engine import TransformersEngine
from olal.learners.base import Learner
from olal.learners.critic_free import CriticFreeLearner, CriticFreeSettings
from olal.learners.mezo import MeZOLearner, MeZOSettings
from olal.learners.ppo import PPOLearner, PPOSettings
from olal.learners.rwr import RWRLearner, RWRSettings
from olal.learners.schedule import LinearDecay
from olal.learners.sft import SFTLearner, SFTSettings
from olal.learners.simpo import SimPOLearner, SimPOSettings
from olal.learners.value import ValueLearner, ValueSettings
from olal.models.policy_network import PolicyNetwork
from olal.rollout import Collector
from olal.types import (
    AdapterUpdate,
    Completion,
    EpisodeTask,
    GenerateRequest,
    GrammarSpec,
    SamplingParams,
    Trajectory,
    Turn,
)


@pytest.fixture(scope="session")
def load_engine(tiny_engine: PolicyNetwork) -> Callable[..., TransformersEngine]:
    """An engine under the given adapter."""

    def load(flat: np.ndarray | None = None, *, version: int = 0) -> TransformersEngine:
        flat = tiny_engine.bank.initial if flat is None else flat
        engine = TransformersEngine(tiny_engine)
        engine.load_adapter(AdapterUpdate(version, tiny_engine.bank.layout.digest(flat), flat))
        return engine

    return load


@pytest.fixture(scope="session")
def play(load_engine: Callable[..., TransformersEngine]) -> Callable[..., list[Trajectory]]:
    """Episodes of a real environment."""

    def run(
        env_id: str,
        options: dict[str, Any] | None = None,
        *,
        episodes: int,
        flat: np.ndarray | None = None,
        temperature: float = 1.0,
        max_turns: int | None = None,
    ) -> list[Trajectory]:
        collector = Collector(
            lambda: make_env(env_id, options or {}, max_turns=max_turns),
            lambda env: PromptAgent(env.instructions),
            load_engine(flat),
        )
        tasks = [EpisodeTask(i, seed=1000 + i) for i in range(episodes)]
        trajectories = collector.collect(tasks, SamplingParams(temperature, 64))
        collector.close()
        assert not any(trajectory.error for trajectory in trajectories)
        return trajectories

    return run


@pytest.fixture(scope="session")
def answer(load_engine: Callable[..., TransformersEngine]) -> Callable[..., list[Trajectory]]:
    """One-turn episodes of an engine's own answers, each paid by a function of its text."""

    def run(
        grammar: GrammarSpec,
        pay: Callable[[str], float],
        *,
        prompts: Sequence[tuple[int, ...]],
        episodes: int,
        flat: np.ndarray | None = None,
    ) -> list[Trajectory]:
        engine = load_engine(flat)
        requests = [
            GenerateRequest(prompts[i % len(prompts)], grammar, SamplingParams(), seed=i) for i in range(episodes)
        ]
        return [
            make_trajectory([Turn("", request.prompt_token_ids, grammar, completion, pay(completion.text))], i)
            for i, (request, completion) in enumerate(zip(requests, engine.generate(requests), strict=True))
        ]

    return run


@pytest.fixture(scope="session")
def make_turn(vocabulary: Vocabulary, tokenizer: Tokenizer, eos: int) -> Callable[..., Turn]:
    """A turn that says `text` in its usual tokens, with invented log-probabilities -0.1, -0.2, ..."""

    def make(grammar: GrammarSpec, text: str, reward: float = 0.0, prompt: tuple[int, ...] = (10, 11)) -> Turn:
        token_ids = (*tokenizer.encode(text).ids, eos)
        forced = tuple(vocabulary.state(grammar, token_ids[:t]).is_forced for t in range(len(token_ids)))
        logprobs = tuple(0.0 if is_forced else -0.1 * (t + 1) for t, is_forced in enumerate(forced))
        mass = tuple(5 * logprob for logprob in logprobs)
        completion = Completion(token_ids, text, logprobs, forced, mass, 0, "grammar", forced.count(False))
        return Turn("", prompt, grammar, completion, reward)

    return make


def make_trajectory(turns: Sequence[Turn], episode_id: int = 0, **changes: Any) -> Trajectory:
    fields: dict[str, Any] = {
        "task": EpisodeTask(episode_id, episode_id),
        "terminated": True,
        "truncated": False,
        "success": None,
        "adapter_version": 0,
    }
    return Trajectory(turns=tuple(turns), adapter_digest="", **fields | changes)


@pytest.fixture(scope="session")
def episode() -> Callable[..., Trajectory]:
    return make_trajectory


@dataclass
class Stacked:
    """Any adapters, held as they are: float32, shape (members, num_parameters)."""

    flats: np.ndarray

    def __len__(self) -> int:
        return len(self.flats)

    def part(self, first: int, last: int) -> Stacked:
        return Stacked(self.flats[first:last])

    def block(self, start: int, stop: int) -> np.ndarray:
        return self.flats[:, start:stop].astype(np.float32)


@pytest.fixture(scope="session")
def stacked() -> type[Stacked]:
    return Stacked


LIGHT = {"epochs": 2, "minibatch_decisions": 20, "target_kl": 100.0}
LEARNERS: dict[str, tuple[type[Any], type[Any], dict[str, Any]]] = {
    "ppo": (PPOLearner, PPOSettings, LIGHT),
    "ppo_separate": (PPOLearner, PPOSettings, LIGHT | {"separate_critic": True}),
    "rwr": (RWRLearner, RWRSettings, LIGHT),
    "sft": (SFTLearner, SFTSettings, LIGHT | {"keep": "above_mean", "minibatch_decisions": 5}),
    "simpo": (SimPOLearner, SimPOSettings, LIGHT | {"minibatch_decisions": 4}),
    "value": (ValueLearner, ValueSettings, LIGHT),
    "mezo": (MeZOLearner, MeZOSettings, {"steps": 2, "contexts_per_step": 16}),
    **{
        name: (
            CriticFreeLearner,
            CriticFreeSettings,
            {"kind": name, "epochs": 2, "minibatch_decisions": 20, "target_kl": 100.0},
        )
        for name in ("grpo", "rloo", "reinforce")
    },
}


def make_parts(kind: str, *, rate: float = 3e-3, seed: int = 0, **settings: Any) -> Any:
    """Class, settings, learning rate and seed of a learner, light by default."""
    learner, settings_class, light = LEARNERS[kind]
    return learner, settings_class(**light | settings), LinearDecay(rate, 0.1, 100), seed


@pytest.fixture(scope="session")
def make_learner(tiny_learner: PolicyNetwork) -> Callable[..., Learner]:
    """A fresh learner, light by default, on the learners' own network or the one given."""

    def make(kind: str, *, network: PolicyNetwork | None = None, rate: float = 3e-3, seed: int = 0, **settings: Any):
        learner, filled, decay, seed = make_parts(kind, rate=rate, seed=seed, **settings)
        return learner(network or tiny_learner, filled, decay, seed=seed)

    return make


@pytest.fixture(scope="session")
def learner_parts() -> Callable[..., tuple[type[Any], Any, LinearDecay, int]]:
    """What `make_learner` makes a learner from, for one in another process."""
    return make_parts


@pytest.fixture(params=LEARNERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param
