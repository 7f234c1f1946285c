"""MeZO's 16 members in one batched forward against the same 16 one by one, on the demo model and two cores.

The batch is that of the demo: the decisions of 64 episodes of the grid world, each distinct context once. "One by one"
sets one member's adapter, runs the contexts in the rows of a batch, as a forward of transformers has it, and goes on to
the next; all sides end with the same 16 losses. They take turns in one process, and ratios are medians of those between
neighbours.

The batched forward also runs once what contexts share in front. `_same_layout` tells how much is left where one by one
does that too: then both sides make the same products, batching spares only what a pass costs before it has computed
anything, fifteen times over, and that cost, measured as one by one on a single context, bounds the ratio (`_bound`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from olal.models.legal import legal_logprobs, pad_legal
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


@dataclass(frozen=True, slots=True)
class Speedup:
    """Medians of one by one over batched.

    Attributes:
        over_rows: one by one has a row for every context.
        same: both lay contexts out alike.
        bound: what `same` would be if a pass cost nothing but its products.
    """

    over_rows: float
    same: float
    bound: float


class Sides:
    """The same 16 losses in three ways."""

    def __init__(self, network: PolicyNetwork, batch: DecisionBatch) -> None:
        self.network, self.batch = network, batch
        self.scorer = ContextScorer(network, batch, temperature=1.0)
        space = SeedSpace(network.bank.layout, network.bank.initial)
        seeds = np.repeat(np.arange(DIRECTIONS, dtype=np.uint64), 2)
        records = make_records(seeds, np.tile([SIGMA, -SIGMA], DIRECTIONS))
        self.members = Members(space, network.bank.initial, records)

    def together(self, contexts: NDArray[np.int64]) -> torch.Tensor:
        """One pass for all members."""
        return self.scorer.score_members(contexts, self.members.part(0, len(self.members)))

    def one_by_one(self, contexts: NDArray[np.int64]) -> torch.Tensor:
        """One pass a member."""
        return torch.stack([self.scorer.score(contexts)[0] for _ in self._each()])

    def in_rows(self, contexts: NDArray[np.int64]) -> torch.Tensor:
        """One pass a member, every context in a row of its own."""
        sequences = [self.batch.contexts[index] for index in contexts]
        ids, real = pad_legal([self.batch.legal[index] for index in contexts])
        rows, lasts = torch.arange(len(contexts)), torch.tensor([len(tokens) - 1 for tokens in sequences])
        scores = [self.network.at_positions(sequences, rows, lasts)[0] for _ in self._each()]
        return torch.stack([legal_logprobs(logits, ids, real) for logits in scores])

    def _each(self) -> Iterator[None]:
        for record in range(len(self.members)):
            flat = self.members.part(record, record + 1).block(0, len(self.network.bank.initial))[0]
            self.network.bank.use(torch.from_numpy(flat))
            yield


def compare(sides: Sides, contexts: NDArray[np.int64], repeats: int) -> Speedup:
    """Let all sides take turns."""
    with torch.inference_mode():
        for other in (sides.one_by_one, sides.in_rows):
            if not torch.allclose(sides.together(contexts), other(contexts), atol=1e-4):
                raise RuntimeError("all ways must score alike")
        turns = [
            (
                timed(lambda: sides.one_by_one(contexts)),
                timed(lambda: sides.together(contexts)),
                timed(lambda: sides.in_rows(contexts)),
                timed(lambda: sides.one_by_one(contexts[:1])),
            )
            for _ in range(repeats)
        ]
    alone, batched, rows, empty = (1e3 * median(column) for column in zip(*turns, strict=True))
    print(
        f"{len(contexts)} contexts: one by one {alone:.1f} ms (on one context {empty:.1f}), "
        f"with a row for every context {rows:.1f}, together {batched:.1f}",
        flush=True,
    )
    spared = 1 - 1 / len(sides.members)
    return Speedup(
        median(turn[2] / turn[1] for turn in turns),
        median(turn[0] / turn[1] for turn in turns),
        median(turn[0] / (turn[0] - spared * turn[3]) for turn in turns),
    )


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
    sides = Sides(network, batch)
    found = {count: compare(sides, everything[:count], options.repeats) for count in (8, 24, len(everything))}
    last = list(found)[-1]
    report(
        [
            measure(f"mezo_batched_speedup{of}{suffix}", value, "ratio", ">= 3" if of + suffix == "" else "")
            for count, speedup in sorted(found.items(), reverse=True)
            for of in ["" if count == last else f"_{count}_contexts"]
            for suffix, value in (
                ("", speedup.over_rows),
                ("_same_layout", speedup.same),
                ("_same_layout_bound", speedup.bound),
            )
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
