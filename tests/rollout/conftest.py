"""An engine and environments that follow a script and write down what was asked of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from olal.agents import PromptAgent
from olal.errors import GrammarError
from olal.grammar import ActionGrammar
from olal.rollout import AdaptiveConcurrency, Collector, Deadlines, EpisodeStream
from olal.types import (
    AdapterUpdate,
    Completion,
    EngineLoad,
    EpisodeTask,
    GenerateRequest,
    GrammarSpec,
    Message,
    TimeStep,
)


@dataclass
class ScriptedEngine:
    """Answers every request by `say`; its tokens are the letters of the text."""

    say: Callable[[GenerateRequest], str] = lambda request: "go"
    stop_reason: Any = "grammar"
    adapter_version: int = 3
    adapter_digest: str = "d3"
    batches: list[list[GenerateRequest]] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)
    unloaded: list[str] = field(default_factory=list)
    width: int = 1000
    dies_at: int = -1
    present_load: EngineLoad = field(default_factory=lambda: EngineLoad(0, 0, 0.0))
    submitted: list[GenerateRequest] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)
    waiting: dict[int, GenerateRequest] = field(default_factory=dict)
    num_steps: int = 0

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        return tuple(map(ord, messages[-1].content))

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        self.batches.append(list(requests))
        return [self._complete(self.say(request)) for request in requests]

    def load(self) -> EngineLoad:
        return self.present_load

    def submit(self, request: GenerateRequest) -> int:
        self.submitted.append(request)
        self.waiting[len(self.submitted)] = request
        return len(self.submitted)

    def step(self) -> list[tuple[int, Completion]]:
        """Answers the oldest `width` requests."""
        self.num_steps += 1
        if self.num_steps == self.dies_at:
            raise OSError("the device is gone")
        due = list(self.waiting.items())[: self.width]
        self.batches.append([request for _, request in due])
        self.waiting = dict(list(self.waiting.items())[self.width :])
        return [(number, self._complete(self.say(request))) for number, request in due]

    def cancel(self, request_id: int) -> None:
        self.cancelled.append(request_id)
        self.waiting.pop(request_id, None)

    def unload_adapter(self, digest: str) -> None:
        self.unloaded.append(digest)

    def _complete(self, text: str) -> Completion:
        ids, zeros = tuple(map(ord, text)), (0.0,) * len(text)
        return Completion(ids, text, zeros, (True,) * len(text), zeros, self.adapter_version, self.stop_reason, 0)

    def load_adapter(self, update: AdapterUpdate, *, is_current: bool = True) -> None:
        self.loaded.append(update.version)
        if not is_current:
            return
        self.adapter_version, self.adapter_digest = update.version, update.digest


def ticks() -> Callable[[], float]:
    """A clock that moves by a microsecond a look: whatever the machine has to do besides, environments are cheap."""
    looks = itertools.count()
    return lambda: next(looks) * 1e-6


def read(text: str) -> str:
    if text != "go":
        raise GrammarError(f"not an action: {text}")
    return text.upper()


@dataclass
class ScriptedEnv:
    """An episode whose seed is its name: `lengths[seed]` turns, each paying 1, unless it fails by the script."""

    lengths: Mapping[int, int]
    ending: Mapping[int, dict[str, bool]] = field(default_factory=dict)
    fails: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    reward: Any = 1.0
    resets: list[int] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    num_closed: int = 0
    instructions: str = "Go on."
    max_turns: int = 100
    seed: int = -1
    turn: int = 0

    def reset(self, seed: int) -> TimeStep:
        self.resets.append(seed)
        self.seed, self.turn = seed, 0
        self._fail("reset")
        return self._step(0.0)

    def action_grammar(self) -> ActionGrammar:
        self._fail("action_grammar")
        return ActionGrammar(GrammarSpec(f'{{"{self.seed}":{self.turn}}}'), read, str.lower)

    def step(self, action: str) -> TimeStep:
        self.actions.append(action)
        self.turn += 1
        self._fail("step")
        return self._step(self.reward)

    def _step(self, reward: float) -> TimeStep:
        is_last = self.turn == self.lengths[self.seed]
        flags = self.ending.get(self.seed, {"terminated": True}) if is_last else {}
        return TimeStep(f"s{self.seed}t{self.turn}", reward, success=is_last or None, **flags)

    def _fail(self, where: str) -> None:
        if self.fails.get(self.seed) == (where, self.turn):
            raise RuntimeError(f"broke in {where}\nwith details")

    def sample_action(self, seed: int) -> str:
        return f"random {seed}"

    def close(self) -> None:
        self.num_closed += 1


@dataclass
class Stage:
    """A collector with everything it was given."""

    engine: ScriptedEngine
    envs: list[ScriptedEnv]
    collector: Collector


@dataclass
class StreamStage:
    """A stream with everything it was given."""

    engine: ScriptedEngine
    envs: list[ScriptedEnv]
    stream: EpisodeStream


@pytest.fixture
def stage() -> Callable[..., Stage]:
    """A collector of scripted episodes; every environment it makes is kept in `envs`."""

    def make(
        lengths: Mapping[int, int],
        *,
        engine: ScriptedEngine | None = None,
        max_parallel: int = 256,
        clock: Callable[[], float] | None = None,
        **script: Any,
    ) -> Stage:
        envs: list[ScriptedEnv] = []

        def make_env() -> ScriptedEnv:
            envs.append(ScriptedEnv(lengths, **script))
            return envs[-1]

        engine = engine or ScriptedEngine()
        agent = lambda env: PromptAgent(env.instructions)  # noqa: E731
        return Stage(
            engine,
            envs,
            Collector(make_env, agent, engine, worker=7, max_parallel=max_parallel, clock=clock or ticks()),
        )

    return make


@pytest.fixture
def stream() -> Callable[..., StreamStage]:
    """A stream of scripted episodes; every environment it makes is kept in `envs`."""

    def make(
        lengths: Mapping[int, int],
        *,
        engine: ScriptedEngine | None = None,
        limits: Deadlines | None = None,
        most: int = 256,
        start: int = 8,
        follower: Any = None,
        clock: Callable[[], float] | None = None,
        **script: Any,
    ) -> StreamStage:
        envs: list[ScriptedEnv] = []

        def make_env() -> ScriptedEnv:
            envs.append(ScriptedEnv(lengths, **script))
            return envs[-1]

        engine = engine or ScriptedEngine()
        agent = lambda env: PromptAgent(env.instructions)  # noqa: E731
        limit = AdaptiveConcurrency(most, start=start)
        settings: Any = {"limits": limits, "follower": follower, "clock": clock or ticks()}
        return StreamStage(
            engine, envs, EpisodeStream(make_env, agent, engine, worker=7, concurrency=limit, **settings)
        )

    return make


@pytest.fixture
def scripted_engine() -> type[ScriptedEngine]:
    return ScriptedEngine


@pytest.fixture
def scripted_env() -> type[ScriptedEnv]:
    return ScriptedEnv


@pytest.fixture
def tasks() -> Callable[..., list[EpisodeTask]]:
    """One task a seed, numbered from 100."""

    def make(*seeds: int) -> list[EpisodeTask]:
        return [EpisodeTask(100 + i, seed) for i, seed in enumerate(seeds)]

    return make
