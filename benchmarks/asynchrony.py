"""Asynchronous against synchronous training where episodes differ much in length, on the same cores.

Both modes train by `olal launch` with one config: the grid world whose episodes each have a pace of their own
(`_slow_grid_world.py`), two workers, the tiny model, the same number of updates of the same number of episodes. In sync
mode a batch waits for its slowest episode and the learner for the batch; in async mode others are played meanwhile, at
most `--staleness` versions behind. What counts is episodes learned from per second of training; those that were played
in vain are not in it.

Scores are of 1,000 evaluation episodes a run. Equal means that the difference of the means over all runs is no more
than these episodes leave open: 1.96 standard errors.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from statistics import mean
from typing import Any

from _launching import launch
from _report import arguments, measure, report

EVALUATION_EPISODES = 1000
IN_ERRORS = 1.96
"""Half the width of the interval around a mean that holds in 95% of cases, in standard errors."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        episodes_per_s: learned from, per second of training.
        score: of the final policy; 0 is random, 1 optimal.
        score_error: standard error of `score` that the evaluation's episodes leave.
        learner_idle: share of the time in which no update was under way.
        rollout_idle: share of the time in which workers had nothing to do; in sync mode while the learner learns.
    """

    episodes_per_s: float
    score: float
    score_error: float
    learner_idle: float
    rollout_idle: float


def train(mode: str, seed: int, options: Any) -> Outcome:
    """One run."""
    environment = {"step_s": options.step_s, "spread": options.spread}
    settings = {
        "env": json.dumps({"id": "python:_slow_grid_world:SlowGridWorld", "options": environment}),
        "training.updates": options.updates,
        "learner.episodes_per_update": options.batch,
        "learner.max_staleness": options.staleness,
        "evaluation.episodes": EVALUATION_EPISODES,
        "cluster.dashboard": "false",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    run = launch("gridworld", "--mode", mode, "--workers", "2", "--seed", str(seed), *words)
    learner_idle = _idle(run, "learner_idle_share")
    rollout_idle = 1 - learner_idle if mode == "sync" else _idle(run, "rollout_idle_share")
    episodes = options.batch * len(run["updates"])
    return Outcome(episodes / run["training_s"], run["score"], _score_error(run), learner_idle, rollout_idle)


def _score_error(run: dict[str, Any]) -> float:
    """Standard error of the score: the interval's, on the scale from the random policy to the optimum."""
    final, ends = run["policies"]["final"], [run["policies"][name]["mean_return"] for name in ("random", "optimum")]
    return (final["ci_high"] - final["ci_low"]) / (2 * IN_ERRORS) / (ends[1] - ends[0])


def _idle(run: dict[str, Any], name: str) -> float:
    """A share of the time, over all updates."""
    times = [row["elapsed_s"] for row in run["updates"]]
    durations = [now - before for before, now in zip([0.0, *times], times, strict=False)]
    parts = [row["extra"][name] * duration for row, duration in zip(run["updates"], durations, strict=True)]
    return sum(parts) / max(times[-1], 1e-9)


def main() -> None:
    """Train in both modes by every seed."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64, help="episodes of an update")
    parser.add_argument("--staleness", type=int, default=2, help="most versions that acting may lie behind learning")
    parser.add_argument("--step-s", type=float, default=0.04, help="mean seconds of a step")
    parser.add_argument("--spread", type=float, default=1.25, help="of the logarithm of an episode's pace")
    options = parser.parse_args()
    runs: dict[str, list[Outcome]] = {"sync": [], "async": []}
    for seed in options.seeds:
        for mode, outcomes in runs.items():
            outcome = train(mode, seed, options)
            outcomes.append(outcome)
            print(
                f"seed {seed} {mode:5}: {outcome.episodes_per_s:.1f} episodes/s, "
                f"score {outcome.score:.4f} (standard error {outcome.score_error:.4f}), "
                f"learner idle {outcome.learner_idle:.0%}, rollouts idle {outcome.rollout_idle:.0%}",
                flush=True,
            )
    rate = {mode: mean(one.episodes_per_s for one in outcomes) for mode, outcomes in runs.items()}
    score = {mode: mean(one.score for one in outcomes) for mode, outcomes in runs.items()}
    ratio = rate["async"] / rate["sync"]
    error = math.hypot(*(one.score_error for outcomes in runs.values() for one in outcomes)) / len(options.seeds)
    difference = score["async"] - score["sync"]
    rows = [
        measure("sync_episodes_per_s", rate["sync"], "episodes/s"),
        measure("async_episodes_per_s", rate["async"], "episodes/s"),
        measure("async_over_sync_episodes_per_s", ratio, "ratio", ">= 2"),
        measure("async_score", score["async"], "score", baseline=score["sync"]),
        measure("async_minus_sync_score", difference, "score"),
        measure("async_minus_sync_score_errors", difference / max(error, 1e-9), "standard errors", f">= -{IN_ERRORS}"),
    ]
    for mode, outcomes in runs.items():
        rows.append(measure(f"{mode}_learner_idle_share", mean(one.learner_idle for one in outcomes), "share"))
        rows.append(measure(f"{mode}_rollout_idle_share", mean(one.rollout_idle for one in outcomes), "share"))
    report(rows, options.json)


if __name__ == "__main__":
    main()
