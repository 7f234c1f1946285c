"""Environment steps per second on Blackjack, against a loop as LlamaGym has it, on the same model and one core.

Such a loop asks the model for one action of one environment at a time: it renders the chat so far, lets `generate`
write up to 32 tokens, and looks for an action in what came back. Here it runs the base model without LoRA layers; a
collector plays the 512 episodes of one update under an adapter that it loads at the start, so that its caches start
empty each time. Both take turns in one process, and each ratio is one between neighbours. What gymnasium itself can do
with random actions, without a model, is told beside them: no engine gets past it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Any

import gymnasium
import numpy as np
import torch
from _models import LOOP, Pair, fresh_adapter, load_pair
from _report import Measurement, arguments, measure, report

from olal.agents import PromptAgent
from olal.envs import make_env
from olal.experiments.seeds import training_tasks
from olal.inference.transformers_engine import TransformersEngine
from olal.rollout import Collector
from olal.types import SamplingParams

ENV = "gymnasium:Blackjack-v1"
LLAMAGYM_DEFAULTS = {"max_new_tokens": 32, "do_sample": True, "top_p": 0.6, "top_k": 0, "temperature": 0.9}


class ChatLoop:
    """One environment, one prompt at a time: the chat grows with the episode and the answer is searched for a word."""

    def __init__(self, pair: Pair) -> None:
        """Start with no episode running."""
        self._model, self._tokenizer = pair.plain, pair.tokenizer
        self._env = make_env(ENV, {})
        self._actions = {"stick": 0, "hit": 1}
        self._random = np.random.default_rng(0)
        self._seeds = count()
        self._messages: list[dict[str, str]] = []
        self._step = self._reset()
        self.num_steps = 0
        self.num_understood = 0

    def play(self, steps: int) -> float:
        """Play some steps and return how many there were a second."""
        started = time.perf_counter()
        for _ in range(steps):
            self._step = self._env.step(self._act(self._step.observation))
            if self._step.is_last:
                self._step = self._reset()
        self.num_steps += steps
        return steps / (time.perf_counter() - started)

    def _reset(self) -> Any:
        self._messages = [{"role": "system", "content": self._env.instructions}]
        return self._env.reset(next(self._seeds))

    def _act(self, observation: str) -> int:
        self._messages.append({"role": "user", "content": observation})
        answer = self._ask()
        self._messages.append({"role": "assistant", "content": answer})
        found = re.search("stick|hit", answer)
        if found is None:
            return int(self._random.integers(2))
        self.num_understood += 1
        return self._actions[found[0]]

    @torch.no_grad()
    def _ask(self) -> str:
        prompt = self._tokenizer.apply_chat_template(self._messages, tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(prompt, return_tensors="pt")
        generated = self._model.generate(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, **LLAMAGYM_DEFAULTS
        )
        return self._tokenizer.decode(generated[0, inputs.input_ids.shape[1] :], skip_special_tokens=True)


@dataclass(slots=True)
class Ours:
    """A collector that plays the episodes of one update after another."""

    pair: Pair
    collector: Collector
    updates: int = 0

    def play(self, episodes: int) -> float:
        """Load a new adapter, play the episodes of one update and return the steps a second, loading included."""
        self.updates += 1
        update = fresh_adapter(self.pair.policy, self.updates)
        tasks = training_tasks(0, self.updates * episodes, episodes)
        started = time.perf_counter()
        self.collector.load_adapter(update)
        trajectories = self.collector.collect(tasks, SamplingParams())
        elapsed = time.perf_counter() - started
        failed = [trajectory.error for trajectory in trajectories if trajectory.error]
        if failed:
            raise RuntimeError(f"{len(failed)} episodes failed, the first with: {failed[0]}")
        return sum(len(trajectory.turns) for trajectory in trajectories) / elapsed


def make_ours(pair: Pair) -> Ours:
    """The collector of one rollout worker."""
    engine = TransformersEngine(pair.policy)
    return Ours(pair, Collector(lambda: make_env(ENV, {}), lambda env: PromptAgent(env.instructions), engine))


def env_alone(episodes: int) -> float:
    """Steps a second of the environment with random actions and nothing to choose them."""
    env, steps = gymnasium.make("Blackjack-v1"), 0
    started = time.perf_counter()
    for seed in range(episodes):
        env.reset(seed=seed)
        is_over = False
        while not is_over:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            is_over = terminated or truncated
            steps += 1
    return steps / (time.perf_counter() - started)


def compare(name: str, goal: str, *, repeats: int, episodes: int, loop_steps: int) -> list[Measurement]:
    """Let both play in turns.

    Args:
        name: of the model.
        goal: what the ratio should be.
        repeats: turns of each, of which the median ratio is told.
        episodes: of one turn of ours.
        loop_steps: of one turn of the loop.
    """
    pair = load_pair(name)
    loop, ours = ChatLoop(pair), make_ours(pair)
    loop.play(5)
    ours.play(episodes)
    turns = [(ours.play(episodes), loop.play(loop_steps)) for _ in range(repeats)]
    for fast, slow in turns:
        print(f"{name}: {fast:.0f} steps/s against {slow:.1f}, {fast / slow:.0f} times", flush=True)
    speed, baseline = median(fast for fast, _ in turns), median(slow for _, slow in turns)
    label = name.replace("-", "_")
    return [
        measure(
            f"env_steps_per_s_vs_llamagym_loop{'' if goal else f'_{label}'}",
            median(a / b for a, b in turns),
            "ratio",
            goal,
        ),
        measure(f"env_steps_per_s_{label}", speed, "1/s", baseline=baseline),
        measure(f"loop_understood_{label}", loop.num_understood / loop.num_steps, "share"),
    ]


def main() -> None:
    """Compare on an untrained model, which fills all 32 tokens, and on the tiny base.

    The goal is meant for a model that the loop has to wait for. The tiny base was trained on transcripts of Blackjack
    and ends its answer after two tokens, a sixteenth of the loop's work, so it is only told.
    """
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=512, help="of one update (default: 512, as configs/ has it)")
    parser.add_argument("--loop-steps", type=int, default=40, help="of one turn of the loop")
    options = parser.parse_args()
    settings = {"repeats": options.repeats, "episodes": options.episodes, "loop_steps": options.loop_steps}
    measurements = compare(LOOP.name, ">= 100", **settings)
    measurements += compare("tiny", "", **settings)
    alone = median(env_alone(options.episodes) for _ in range(options.repeats))
    measurements.append(measure("env_alone_steps_per_s", alone, "1/s"))
    report(measurements, options.json)


if __name__ == "__main__":
    main()
