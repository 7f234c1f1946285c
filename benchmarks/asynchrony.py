"""Asynchronous against synchronous training where episodes differ much in length, on the same cores.

Both modes train by `olal launch` with one config: the grid world whose episodes each have a pace of their own
(`_slow_grid_world.py`), two workers, the tiny model, updates of the same number of episodes. In sync mode a batch waits
for its slowest episode and the learner for the batch; in async mode others are played meanwhile, at most `--staleness`
versions behind. What counts is episodes learned from per second of training; those that were played in vain are not in
it.

Learning from what an older policy played costs a little of each update's worth, so async is scored twice: after as many
updates as sync makes, and after twice as many (`async_twice`), which still takes it a fraction of sync's time.
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
from _report import Measurement, arguments, measure, report

EVALUATION_EPISODES = 1000
IN_ERRORS = 1.96
"""Half the width of the interval around a mean that holds in 95% of cases, in standard errors."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        episodes_per_s: learned from, per second of training.
        training_s: seconds that it took.
        score: of the final policy; 0 is random, 1 optimal.
        score_error: standard error of `score` that the evaluation's episodes leave.
        learner_idle: share of the time in which no update was under way.
        rollout_idle: share of the time in which workers had nothing to do; in sync mode while the learner learns.
    """

    episodes_per_s: float
    training_s: float
    score: float
    score_error: float
    learner_idle: float
    rollout_idle: float


def train(mode: str, updates: int, seed: int, options: Any) -> Outcome:
    """One run."""
    environment = {"step_s": options.step_s, "spread": options.spread}
    settings = {
        "env": json.dumps({"id": "python:_slow_grid_world:SlowGridWorld", "options": environment}),
        "training.updates": updates,
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
    took_s = run["training_s"]
    return Outcome(episodes / took_s, took_s, run["score"], _score_error(run), learner_idle, rollout_idle)


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
    parser.add_argument("--staleness", type=int, default=4, help="most versions that acting may lie behind learning")
    parser.add_argument("--step-s", type=float, default=0.04, help="mean seconds of a step")
    parser.add_argument("--spread", type=float, default=1.25, help="of the logarithm of an episode's pace")
    options = parser.parse_args()
    plan = {
        "sync": ("sync", options.updates),
        "async": ("async", options.updates),
        "async_twice": ("async", 2 * options.updates),
    }
    runs: dict[str, list[Outcome]] = {name: [] for name in plan}
    for seed in options.seeds:
        for name, (mode, updates) in plan.items():
            outcome = train(mode, updates, seed, options)
            runs[name].append(outcome)
            print(
                f"seed {seed} {mode:5} {updates} updates in {outcome.training_s:.0f} s: "
                f"{outcome.episodes_per_s:.1f} episodes/s, "
                f"score {outcome.score:.4f} (standard error {outcome.score_error:.4f}), "
                f"learner idle {outcome.learner_idle:.0%}, rollouts idle {outcome.rollout_idle:.0%}",
                flush=True,
            )
    report(rows(runs), options.json)


def rows(runs: dict[str, list[Outcome]]) -> list[Measurement]:
    """The table: means over the seeds."""

    def of(name: str, value: str) -> float:
        return mean(getattr(outcome, value) for outcome in runs[name])

    sync_score = of("sync", "score")
    found = [
        measure("sync_episodes_per_s", of("sync", "episodes_per_s"), "episodes/s"),
        measure("async_episodes_per_s", of("async", "episodes_per_s"), "episodes/s"),
        measure(
            "async_over_sync_episodes_per_s",
            of("async", "episodes_per_s") / of("sync", "episodes_per_s"),
            "ratio",
            ">= 2",
        ),
        measure("sync_score", sync_score, "score"),
    ]
    for name in ("async", "async_twice"):
        difference = of(name, "score") - sync_score
        both = [*runs["sync"], *runs[name]]
        error = math.hypot(*(outcome.score_error for outcome in both)) / len(runs["sync"])
        goal = f">= -{IN_ERRORS}" if name == "async_twice" else ""
        found += [
            measure(f"{name}_over_sync_time", of(name, "training_s") / of("sync", "training_s"), "ratio"),
            measure(f"{name}_score", of(name, "score"), "score", baseline=sync_score),
            measure(f"{name}_minus_sync_score", difference, "score"),
            measure(f"{name}_minus_sync_score_errors", difference / max(error, 1e-9), "standard errors", goal),
        ]
    for name in ("sync", "async"):
        found.append(measure(f"{name}_learner_idle_share", of(name, "learner_idle"), "share"))
        found.append(measure(f"{name}_rollout_idle_share", of(name, "rollout_idle"), "share"))
    return found


if __name__ == "__main__":
    main()
