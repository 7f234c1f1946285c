"""MeZO's 16 members in one batched forward against the same 16 one by one, on the demo model and two cores.

The batch is that of the demo: the decisions of 64 episodes of the grid world, each distinct context once. "One by one"
sets one member's adapter, runs the same contexts, and goes on to the next; both sides end with the same 16 losses. A
loop that perturbs one model in place can do no better than that. They take turns in one process, and the ratio is the
median of those between neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from _models import load_pair
from _report import arguments, measure, report
from numpy.typing import NDArray

from olal.adapters import Members, SeedSpace, make_records
from olal.agents import PromptAgent
from olal.envs import make_env
from olal.experiments.seeds import training_tasks
from olal.inference.transformers_engine import TransformersEngine
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.scorer import ContextScorer
from olal.models.policy_network import PolicyNetwork
from olal.rollout import Collector
from olal.types import SamplingParams

DIRECTIONS, SIGMA = 8, 0.02


def demo_batch(network: PolicyNetwork) -> DecisionBatch:
    """The decisions of the demo's first update."""
    collector = Collector(
        lambda: make_env("gridworld", {}), lambda env: PromptAgent(env.instructions), TransformersEngine(network)
    )
    played = collector.collect(training_tasks(0, 0, 64), SamplingParams())
    return make_batch(played, network.base.vocabulary, gamma=0.99)


def compare(network: PolicyNetwork, batch: DecisionBatch, contexts: NDArray[np.int64], repeats: int) -> list[float]:
    """Seconds of both, one by one first, as medians; and the median ratio."""
    scorer = ContextScorer(network, batch, temperature=1.0)
    space = SeedSpace(network.bank.layout, network.bank.initial)
    seeds = np.repeat(np.arange(DIRECTIONS, dtype=np.uint64), 2)
    members = Members(space, network.bank.initial, make_records(seeds, np.tile([SIGMA, -SIGMA], DIRECTIONS)))

    def together() -> torch.Tensor:
        return scorer.score_members(contexts, members.part(0, len(members)))

    def one_by_one() -> torch.Tensor:
        scores = []
        for record in range(len(members)):
            flat = members.part(record, record + 1).block(0, len(network.bank.initial))[0]
            network.bank.use(torch.from_numpy(flat))
            scores.append(scorer.score(contexts)[0])
        return torch.stack(scores)

    with torch.inference_mode():
        if not torch.allclose(together(), one_by_one(), atol=1e-4):
            raise RuntimeError("both ways must score alike")
        turns = [(timed(one_by_one), timed(together)) for _ in range(repeats)]
    slow, fast = (median(column) for column in zip(*turns, strict=True))
    return [slow, fast, median(one / other for one, other in turns)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Compare on all contexts of the batch and on a few."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="turns of each")
    options = parser.parse_args()
    network = load_pair("tiny").policy
    batch = demo_batch(network)
    torch.set_num_threads(2)
    everything = np.arange(len(batch.contexts))
    rows = []
    for count in (8, 24, len(everything)):
        slow, fast, ratio = compare(network, batch, everything[:count], options.repeats)
        print(f"{count} contexts: one by one {1e3 * slow:.1f} ms, together {1e3 * fast:.1f} ms, {ratio:.2f} times")
        rows.append((count, ratio))
    report(
        [
            measure("mezo_batched_speedup", rows[-1][1], "ratio", ">= 3"),
            *(measure(f"mezo_batched_speedup_{count}_contexts", ratio, "ratio") for count, ratio in rows[:-1]),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
