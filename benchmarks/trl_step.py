"""One policy-gradient step on a LoRA adapter: olal's GRPO learner beside TRL's GRPOTrainer.

Same untrained Llama, same prompts and completions, same groups and advantages, same rank on the same layers, float32,
same threads; the clipped surrogate once, as a mean over tokens, without a reference model. Each is timed over all it
does for a step. olal: `update`, which admits the trajectories, rebuilds their legal sets, scores them once to hold
itself against the engine, and steps. TRL: one iteration of `GRPOTrainer.train()`, which is loss, backward, clipping and
optimizer; the padded batch lies ready, as it does once TRL's own generation has ended, and gradient checkpointing is
off, since it trades speed for memory. They take turns, and the ratio is the median of those between neighbours. Tokens
are those of all prompts and completions, however many of them a side really runs.

    text        every token of a completion is a decision; the completions of a group share their prompt, as in GRPO
    lone_text   the same, but no two prompts are alike, so that no work can be shared
    actions     tool calls under a grammar: olal takes no loss where one token is legal, TRL takes it everywhere

TRL lives in a virtual environment of its own, made beside the results on first use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _models import CACHE, Shape, untrained
from _report import Measurement, arguments, measure, report
from transformers import AutoTokenizer

from olal.grammar import json_grammar, regex_grammar
from olal.inference.transformers_engine import TransformersEngine
from olal.learners.critic_free import CriticFreeLearner, CriticFreeSettings
from olal.learners.schedule import LinearDecay
from olal.models.base_model import load_base_model
from olal.models.lora_bank import LoraBank
from olal.models.model_path import TINY_PATH
from olal.models.policy_network import PolicyNetwork
from olal.returns import group_advantages
from olal.types import EpisodeTask, GenerateRequest, GrammarSpec, SamplingParams, Trajectory, Turn

TRL = ("torch==2.13.0+cpu", "trl==1.16.0", "transformers==5.19.0", "peft==0.21.2")
SHAPE = Shape("random-4x256", 4, 256, 4, 2, 768)
GROUPS, GROUP_SIZE, PROMPT_TOKENS, COMPLETION_TOKENS = 4, 8, 48, 48
ACTION = {
    "type": "object",
    "properties": {
        "tool": {"enum": ["move", "look", "take"]},
        "direction": {"enum": ["north", "south", "east", "west"]},
        "steps": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["tool", "direction", "steps"],
    "additionalProperties": False,
}
RATE, CLIP, MAX_GRAD_NORM, RANK, ALPHA = 1e-5, 0.2, 1.0, 8, 16.0


def trl_python() -> Path:
    """The interpreter of TRL's environment, made if it is not there."""
    home = CACHE / TRL[1].replace("==", "-")
    python, stamp = home / "bin" / "python", home / "complete"
    if not stamp.exists() or stamp.read_text() != " ".join(TRL):
        print(f"installing {TRL[1]} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TRL], check=True)
        stamp.write_text(" ".join(TRL))
    return python


def play(
    engine: TransformersEngine, learner: CriticFreeLearner, grammar: GrammarSpec, *, alike: bool
) -> list[Trajectory]:
    """Groups of completions that the engine samples under the learner's first adapter, with random rewards.

    Args:
        engine: over the same base model.
        learner: its first update is what is to be timed.
        grammar: of the completions.
        alike: whether the completions of a group answer one prompt.
    """
    random = np.random.default_rng(0)
    prompts = random.integers(10, 400, (GROUPS, GROUP_SIZE, PROMPT_TOKENS))
    if alike:
        prompts[:] = prompts[:, :1]
    rows = [tuple(prompt) for prompt in prompts.reshape(-1, PROMPT_TOKENS).tolist()]
    sampling = SamplingParams(max_tokens=COMPLETION_TOKENS)
    completions = engine.generate([GenerateRequest(row, grammar, sampling, seed) for seed, row in enumerate(rows)])
    digest = learner.current().digest
    return [
        Trajectory(
            EpisodeTask(index, index, index // GROUP_SIZE),
            (Turn("", row, grammar, completion, float(random.standard_normal())),),
            True,
            False,
            None,
            0,
            digest,
        )
        for index, (row, completion) in enumerate(zip(rows, completions, strict=True))
    ]


class OlalSide:
    """One step of olal's learner from a fresh start."""

    def __init__(self, model: Path, grammar: GrammarSpec, threads: int, *, alike: bool) -> None:
        base = load_base_model(str(model), threads=threads)
        self.network = PolicyNetwork(base, LoraBank(base.network, rank=RANK, alpha=ALPHA, targets="all-linear", seed=0))
        self.learner = self._fresh()
        self.played = play(TransformersEngine(self.network), self.learner, grammar, alike=alike)

    def _fresh(self) -> CriticFreeLearner:
        settings = CriticFreeSettings(
            entropy=0.0, epochs=1, minibatch_decisions=1 << 30, clip=CLIP, max_grad_norm=MAX_GRAD_NORM
        )
        return CriticFreeLearner(self.network, settings, LinearDecay(RATE, 1.0, 1), seed=0)

    def step(self) -> float:
        """Seconds of one update."""
        learner = self._fresh()
        started = time.perf_counter()
        done = learner.update(self.played)
        seconds = time.perf_counter() - started
        if done.alarms or done.metrics["optimizer_steps"] != 1:
            raise RuntimeError(f"one step without an alarm was wanted: {done.alarms} {done.metrics}")
        return seconds

    @property
    def turns(self) -> list[Turn]:
        """One an episode."""
        return [trajectory.turns[0] for trajectory in self.played]

    @property
    def num_tokens(self) -> int:
        """Of prompts and completions."""
        return sum(len(turn.prompt_token_ids) + len(turn.completion.token_ids) for turn in self.turns)

    @property
    def decision_share(self) -> float:
        """Share of the completions' tokens that are decisions."""
        forced = [is_forced for turn in self.turns for is_forced in turn.completion.forced]
        return 1 - sum(forced) / len(forced)


class TrlSide:
    """Steps of TRL's trainer in a process of its own, on the same batch."""

    def __init__(self, model: Path, side: OlalSide, threads: int) -> None:
        rewards = np.array([turn.reward for turn in side.turns])
        groups = np.arange(len(rewards)) // GROUP_SIZE
        task = {
            "model": str(model),
            "threads": threads,
            "prompts": [turn.prompt_token_ids for turn in side.turns],
            "completions": [turn.completion.token_ids for turn in side.turns],
            "advantages": group_advantages(rewards, groups, baseline="grpo", std_floor=0.0).tolist(),
            "group_size": GROUP_SIZE,
            "learning_rate": RATE,
            "clip": CLIP,
            "max_grad_norm": MAX_GRAD_NORM,
            "rank": RANK,
            "alpha": ALPHA,
        }
        path = CACHE / "trl_task.json"
        path.write_text(json.dumps(task))
        self._log = (CACHE / "trl_side.log").open("w")
        self._process = subprocess.Popen(
            [trl_python(), Path(__file__).with_name("_trl_side.py"), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
        self.versions = self._answer()

    def step(self) -> float:
        """Seconds of one iteration of its training loop."""
        pipe: Any = self._process.stdin
        pipe.write("step\n")
        pipe.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        pipe: Any = self._process.stdout
        line = pipe.readline()
        if not line:
            tail = Path(self._log.name).read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"TRL's side ended; all it said is in {self._log.name}: {tail}")
        return json.loads(line)


def compare(
    model: Path, name: str, grammar: GrammarSpec, repeats: int, threads: int, *, alike: bool
) -> list[Measurement]:
    """Take turns on one batch."""
    olal = OlalSide(model, grammar, threads, alike=alike)
    trl = TrlSide(model, olal, threads)
    try:
        olal.step()
        trl.step()
        turns = [(olal.step(), trl.step()) for _ in range(repeats)]
    finally:
        trl.close()
    ours, theirs = (median(column) for column in zip(*turns, strict=True))
    ratio = median(other / own for own, other in turns)
    print(
        f"{name}: {olal.num_tokens} tokens, {100 * olal.decision_share:.0f}% of the completions' are decisions; "
        f"olal {1e3 * ours:.0f} ms, TRL {trl.versions['trl']} {1e3 * theirs:.0f} ms, {ratio:.2f} times",
        flush=True,
    )
    return [
        measure(f"olal_over_trl_tokens_per_s_{name}", ratio, "ratio", ">= 1"),
        measure(f"olal_tokens_per_s_{name}", olal.num_tokens / ours, "tokens/s", baseline=olal.num_tokens / theirs),
        measure(f"decision_share_{name}", olal.decision_share, "ratio"),
    ]


def model_directory() -> Path:
    """An untrained Llama with the tiny base's tokenizer, as both load it."""
    tokenizer = AutoTokenizer.from_pretrained(TINY_PATH)
    path = CACHE / SHAPE.name
    untrained(SHAPE, len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def main() -> None:
    """Compare on three kinds of batch."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each")
    parser.add_argument("--threads", type=int, default=2, help="of each")
    options = parser.parse_args()
    model = model_directory()
    text, action = regex_grammar("(?s:.)*"), json_grammar(ACTION)
    rows = [
        *compare(model, "text", text, options.repeats, options.threads, alike=True),
        *compare(model, "lone_text", text, options.repeats, options.threads, alike=False),
        *compare(model, "actions", action, options.repeats, options.threads, alike=True),
    ]
    worst = min(row.value for row in rows if row.name.startswith("olal_over_trl"))
    report([measure("olal_over_trl_tokens_per_s", worst, "ratio", ">= 1"), *rows], options.json)


if __name__ == "__main__":
    main()
