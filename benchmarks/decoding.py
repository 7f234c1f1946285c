"""What the grammar saves and how exact it is: model passes per action, and engine against learner log-probabilities.

Token by token, every token of an action costs a pass of its row. Here only decisions do, and rows in the same context
share one. The full-vocabulary control is what a learner without the grammar would compute for the same tokens.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from _report import arguments, measure, report

from olal.config import load_config
from olal.experiments.build import build_collector, build_network
from olal.experiments.seeds import training_tasks
from olal.learners.batch import make_batch
from olal.learners.scorer import ContextScorer, pack
from olal.types import SamplingParams


def main() -> None:
    """Play the grid world with the untrained adapter and score what was played."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=256)
    options = parser.parse_args()
    config = load_config([], {"env.id": "gridworld"})
    collector = build_collector(config, 0)
    started = time.perf_counter()
    trajectories = collector.collect(training_tasks(0, 0, options.episodes), SamplingParams())
    elapsed = time.perf_counter() - started
    completions = [turn.completion for trajectory in trajectories for turn in trajectory.turns]
    tokens = sum(len(completion.token_ids) for completion in completions)
    passes = sum(completion.num_passes for completion in completions)
    gap, control_gap, ratio = exactness(config, trajectories)
    report(
        [
            measure("passes_saved_gridworld", tokens / passes, "ratio", ">= 4", baseline=1.0),
            measure("max_logprob_gap", gap, "nats", "<= 1e-4", baseline=control_gap),
            measure("full_vocabulary_mean_ratio", ratio, "ratio"),
            measure("env_steps_per_s", len(completions) / elapsed, "1/s"),
        ],
        options.json,
    )


@torch.no_grad()
def exactness(config, trajectories) -> tuple[float, float, float]:
    """Largest gap over the legal set, the same over the full vocabulary, and the control's mean probability ratio."""
    network = build_network(config)
    batch = make_batch(trajectories, network.base.vocabulary, gamma=0.99)
    legal, _ = ContextScorer(network, batch, temperature=1.0).score(np.arange(len(batch.contexts)))
    exact = legal.numpy()[batch.context_of, batch.chosen]
    sequences, rows, columns = pack(batch.contexts)
    logits, _ = network.at_positions(sequences, torch.tensor(rows), torch.tensor(columns))
    everything = torch.log_softmax(logits, dim=1).numpy()
    tokens = np.array(
        [batch.legal[context][choice] for context, choice in zip(batch.context_of, batch.chosen, strict=True)]
    )
    control = everything[batch.context_of, tokens]
    behaviour = batch.behaviour_logprobs
    return (
        float(np.abs(exact - behaviour).max()),
        float(np.abs(control - behaviour).max()),
        float(np.exp(control - behaviour).mean()),
    )


if __name__ == "__main__":
    main()
