"""Peak memory of one update beside scoring the same batch, on untrained models of four sizes up to 0.5B parameters.

Every number comes from a process of its own that loads the model, lays out one batch, scores it once, forgets its peak
so far and then either scores the batch under one adapter (what any engine must do), makes a MeZO update, or a PPO
update. MeZO is held to as many sequences in a pass as scoring has: sequences in a pass are what memory is spent on, and
`learner.rows_per_pass` sets them. "Beyond the base weights" is the peak of the resident set less the bytes of the
frozen weights; "working memory" is what the step adds to the process that stood ready, so neither the weights nor
Python and torch themselves soften the ratio.

`published_bytes` are those of the update as a worker fetches it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _models import SHAPES, Shape, large_tokenizer, make_policy, untrained
from _report import Measurement, arguments, measure, report

from olal.adapters import OVERHEAD_BYTES, encode_delta
from olal.grammar import choice_grammar
from olal.learners.batch import make_batch
from olal.learners.mezo import MeZOLearner, MeZOSettings
from olal.learners.ppo import PPOLearner, PPOSettings
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.models.policy_network import PolicyNetwork
from olal.types import Completion, EpisodeTask, Trajectory, Turn

HALF_BILLION = Shape("random-32x896", 32, 896, 14, 2, 4864)
SIZES = [SHAPES["random-8x512"], SHAPES["random-30x576"], Shape("random-16x768", 16, 768, 12, 4, 4864), HALF_BILLION]
SEQUENCES, PROMPT_TOKENS, DIRECTIONS = 8, 128, 2
RATE = LinearDecay(1e-3, 1.0, 1)
# glibc keeps freed memory and spreads it over arenas; with these it returns it, and the peak is what was in use
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


@dataclass(frozen=True, slots=True)
class Peak:
    """What one process saw.

    Attributes:
        mode: "scoring", "mezo" or "ppo".
        num_parameters: of the base model.
        num_adapter: of the adapter.
        weights: bytes of the base weights.
        before: resident bytes once everything stood ready.
        peak: most resident bytes during the step.
        published: bytes of the update; 0 for scoring.
        num_records: seeds and coefficients in it; 0 for a whole adapter.
    """

    mode: str
    num_parameters: int
    num_adapter: int
    weights: int
    before: int
    peak: int
    published: int
    num_records: int

    @property
    def beyond_weights(self) -> int:
        """Peak less the base weights, in bytes."""
        return self.peak - self.weights

    @property
    def working(self) -> int:
        """What the step added, in bytes."""
        return self.peak - self.before


def trajectories(network: PolicyNetwork) -> list[Trajectory]:
    """Episodes of one decision each, after prompts of random tokens."""
    random = np.random.default_rng(0)
    grammar = choice_grammar(["a", "b", "c"])
    legal = network.base.vocabulary.state(grammar, ()).legal
    eos = network.base.tokenizer.eos_token_id
    played: list[Trajectory] = []
    for i in range(SEQUENCES):
        prompt = tuple(random.integers(10, 30_000, PROMPT_TOKENS).tolist())
        tokens = (int(legal[i % len(legal)]), eos)
        logprob = -float(np.log(len(legal)))
        completion = Completion(tokens, "abc"[i % 3], (logprob, 0.0), (False, True), (0.0, 0.0), 0, "grammar", 1)
        turn = Turn("", prompt, grammar, completion, float(i % 3))
        played.append(Trajectory(EpisodeTask(i, i), (turn,), True, False, None, 0, ""))
    return played


def work(mode: str, shape: Shape) -> Peak:
    """Do one step in this process."""
    tokenizer = large_tokenizer()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    base: Any = untrained(shape, len(tokenizer)).eval().requires_grad_(False)
    network = make_policy(shape.name, base, tokenizer)
    network.base.vocabulary.state(choice_grammar(["a", "b", "c"]), ())
    played = trajectories(network)
    weights = [p for name, p in base.named_parameters() if "lora_" not in name]
    step: Any
    match mode:
        case "scoring":
            batch = make_batch(played, network.base.vocabulary, gamma=0.99)
            step = lambda: ContextScorer(network, batch, temperature=1.0).survey(batch)  # noqa: E731
        case "mezo":
            settings = MeZOSettings(directions=DIRECTIONS, steps=1, rows_per_pass=SEQUENCES)
            learner = MeZOLearner(network, settings, RATE, seed=0)
            step = lambda: learner.update(played)  # noqa: E731
        case _:
            ppo = PPOLearner(network, PPOSettings(epochs=1, minibatch_decisions=SEQUENCES), RATE, seed=0)
            step = lambda: ppo.update(played)  # noqa: E731
    warm = make_batch(played, network.base.vocabulary, gamma=0.99)
    ContextScorer(network, warm, temperature=1.0).survey(warm)  # torch keeps buffers of its first pass of a shape
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    done = step()
    peak = resident("VmHWM")
    published, records = 0, 0
    if mode == "mezo":
        published, records = len(encode_delta(done.delta)), len(done.delta.records)
    elif mode == "ppo":
        published = done.update.flat.nbytes
    return Peak(
        mode,
        sum(p.numel() for p in weights),
        network.bank.layout.num_parameters,
        sum(p.numel() * p.element_size() for p in weights),
        before,
        peak,
        published,
        records,
    )


def resident(what: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(what))


def measured(mode: str, shape: Shape) -> Peak:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--mode", mode, "--size", shape.name]
    done = subprocess.run(command, env=os.environ | MALLOC, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{mode} on {shape.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    peak = Peak(**json.loads(done.stdout.splitlines()[-1]))
    print(
        f"  {shape.name:<16} {peak.num_parameters / 1e6:>4.0f}M  {mode:<8} peak {peak.peak / 2**20:>6.0f} MiB, "
        f"beyond the weights {peak.beyond_weights / 2**20:>6.0f}, working memory {peak.working / 2**20:>6.0f}",
        flush=True,
    )
    return peak


def rows(shapes: list[Shape]) -> list[Measurement]:
    """Sweep the sizes."""
    peaks = {(shape.name, mode): measured(mode, shape) for shape in shapes for mode in ("scoring", "mezo", "ppo")}
    beyond = {
        (name, mode): peak.beyond_weights / peaks[name, "scoring"].beyond_weights
        for (name, mode), peak in peaks.items()
    }
    working = {(name, mode): peak.working / peaks[name, "scoring"].working for (name, mode), peak in peaks.items()}
    largest = shapes[-1].name
    updates = [peak for peak in peaks.values() if peak.mode == "mezo"]
    return [
        measure(
            "mezo_peak_over_inference", max(v for (_, mode), v in beyond.items() if mode == "mezo"), "ratio", "<= 1.05"
        ),
        measure(f"mezo_peak_over_inference_{largest}", beyond[largest, "mezo"], "ratio", "<= 1.05"),
        measure("mezo_working_over_inference", max(v for (_, m), v in working.items() if m == "mezo"), "ratio"),
        measure(f"ppo_peak_over_inference_{largest}", beyond[largest, "ppo"], "ratio"),
        measure(f"ppo_working_over_inference_{largest}", working[largest, "ppo"], "ratio"),
        *(
            measure(f"mezo_peak_over_inference_{shape.name}", beyond[shape.name, "mezo"], "ratio")
            for shape in shapes[:-1]
        ),
        measure(
            "mezo_bytes_per_direction", max((p.published - OVERHEAD_BYTES) / p.num_records for p in updates), "bytes"
        ),
        measure("mezo_bytes_beside_directions", OVERHEAD_BYTES, "bytes", "<= 64"),
        measure(f"ppo_published_bytes_{largest}", peaks[largest, "ppo"].published, "bytes"),
    ]


def main() -> None:
    """Measure in child processes; a child measures itself."""
    parser = arguments(__doc__)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--size", choices=[shape.name for shape in SIZES], action="append", help="only these sizes")
    options = parser.parse_args()
    shapes = [shape for shape in SIZES if options.size is None or shape.name in options.size]
    if options.mode is not None:
        peak = work(options.mode, shapes[0])
        print(json.dumps({name: getattr(peak, name) for name in Peak.__slots__}))
        return
    print(f"{SEQUENCES} sequences of {PROMPT_TOKENS} tokens, {DIRECTIONS} directions")
    report(rows(shapes), options.json)


if __name__ == "__main__":
    main()
