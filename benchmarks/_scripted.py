"""Stand-ins for model and learner, so that the plane between them can be measured alone. Nothing here learns.

`ScriptedEngine` answers every request at once with one fixed legal action; `SlowEnv` takes real time for every step,
with a long tail; `ScriptedLearner` waits and publishes the untrained adapter again under the next version. Everything
between them is what every run uses: rollout worker, stream, outbox, replay buffer, driver.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from olal.adapters import Checkpoint
from olal.grammar import ActionGrammar, choice_grammar
from olal.learners.base import LearnerStep
from olal.types import (
    AdapterUpdate,
    Completion,
    EngineLoad,
    GenerateRequest,
    Message,
    SamplingParams,
    Score,
    ScoreRequest,
    TimeStep,
    Trajectory,
)

GO = ActionGrammar(choice_grammar(["go"]), lambda text: text, lambda action: action)


@dataclass
class ScriptedEngine:
    """Says "go" to everything. `probe` is what the learner's model says of the probe, so it passes as delivered."""

    digest: str
    probe: float
    adapter_version: int = 0
    _queue: list[int] = field(default_factory=list[int])
    _next_id: int = 0
    _said: Completion | None = None

    @property
    def adapter_digest(self) -> str:
        """Of the untrained adapter, the only one there is."""
        return self.digest

    @property
    def num_unfinished(self) -> int:
        """Requests that were not answered yet."""
        return len(self._queue)

    def encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Sixteen tokens, whatever is said."""
        return tuple(range(16))

    def submit(self, request: GenerateRequest) -> int:
        """Queue a request."""
        self._queue.append(self._next_id)
        self._next_id += 1
        return self._queue[-1]

    def step(self) -> list[tuple[int, Completion]]:
        """Answer everything."""
        answered, self._queue = self._queue, []
        said = self._say()
        return [(number, said) for number in answered]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        """Answer everything."""
        return [self._say() for _ in requests]

    def cancel(self, request_id: int) -> None:
        """Nothing lasts long enough to be cancelled."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Say of every token what the learner's model says on the mean."""
        return [Score((self.probe,) * len(r.token_ids), (False,) * len(r.token_ids), (0.0,) * 8) for r in requests]

    def load(self) -> EngineLoad:
        """Never busy."""
        return EngineLoad(num_running=0, num_waiting=0, kv_use=0.0)

    def load_adapter(self, update: AdapterUpdate, *, is_current: bool = True) -> None:
        """Take the version."""
        self.adapter_version = update.version

    def unload_adapter(self, digest: str) -> None:
        """There is only one."""

    def _say(self) -> Completion:
        if self._said is None or self._said.adapter_version != self.adapter_version:
            version = self.adapter_version
            self._said = Completion((17, 2), "go", (-0.7, 0.0), (False, True), (0.0, 0.0), version, "grammar", 1)
        return self._said


class SlowEnv:
    """Episodes of a fixed number of turns, each of which takes real time, log-normal with a long tail.

    The steps of an episode are the distribution's quantiles in random order, so that a rate that was measured for a few
    seconds is no matter of luck.
    """

    instructions = "Go."
    max_turns = 1 << 20

    def __init__(self, step_s: float = 0.02, turns: int = 25, spread: float = 1.0) -> None:
        """Choose how slow.

        Args:
            step_s: mean seconds of a step.
            turns: of an episode.
            spread: standard deviation of the logarithm of a step's time; at 1 the slowest of 25 steps takes five times
                the mean.
        """
        normal = NormalDist(sigma=spread)
        times = np.exp([normal.inv_cdf((turn + 0.5) / turns) for turn in range(turns)])
        self._times = step_s * times / times.mean()
        self._turn = 0

    def reset(self, seed: int) -> TimeStep:
        """Start an episode."""
        self._turn = 0
        np.random.default_rng(seed).shuffle(self._times)
        return TimeStep("turn 0")

    def action_grammar(self) -> ActionGrammar:
        """Go."""
        return GO

    def step(self, action: str) -> TimeStep:
        """Take some time."""
        time.sleep(float(self._times[self._turn]))
        self._turn += 1
        return TimeStep(f"turn {self._turn}", 1.0, terminated=self._turn == len(self._times))

    def sample_action(self, seed: int) -> str:
        """Go."""
        return "go"

    def close(self) -> None:
        """Nothing is held."""


class ScriptedLearner:
    """Waits, then publishes what it has under the next version."""

    def __init__(self, flat: NDArray[np.float32], digest: str, step_s: float) -> None:
        """Start at version 0.

        Args:
            flat: the untrained adapter.
            digest: of it.
            step_s: seconds of an update.
        """
        self._flat, self._digest, self._step_s = flat, digest, step_s
        self.version = 0

    def current(self) -> AdapterUpdate:
        """The untrained adapter, under the present version."""
        return AdapterUpdate(self.version, self._digest, self._flat)

    def update(self, trajectories: Sequence[Trajectory]) -> LearnerStep:
        """Wait."""
        time.sleep(self._step_s)
        self.version += 1
        return LearnerStep(self.current(), {})

    def checkpoint(self) -> Checkpoint:
        """The version is all there is."""
        return Checkpoint(self.version, self._flat, {}, {})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a version."""
        self.version = checkpoint.version


SAMPLING = SamplingParams(max_tokens=4)
