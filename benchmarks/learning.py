"""Whether the learners reach the optimum: a score of 0 is the random policy, 1 the exact optimum.

    python benchmarks/learning.py --json benchmarks/results/learning.json

A run is `olal launch --workers 2`, by configs/TASK_LEARNER.yaml where there is one and else by configs/TASK.yaml with
`--learner LEARNER`. What counts is the final evaluation, on episodes that were never trained on, of the worst seed; the
random policy and the optimum come from dynamic programming. After every run all that was measured so far is written:
the measurements to PATH.json, runs with their curves to PATH_runs.json, a picture of every task to PATH_TASK.png. With
`--continue`, runs that are there already are not repeated, unless their settings have changed.

A run is to take five minutes at most. That is held against the processor time of all its processes together, as the
clock also counts what else the machine does: on idle cores, where one of them is always busy, the clock shows less.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _curves import draw_curves
from _launching import CONFIGS, launch
from _report import Measurement, arguments, measure, report, write_json

from olal.config import load_config, to_yaml

TASKS = {
    "gridworld": ("score", ">= 0.95"),
    "frozenlake": ("score", ">= 0.95"),
    "frozenlake_slippery": ("score", ">= 0.9"),
    "blackjack": ("gap", "<= 0.03"),
}
LEARNERS = ("ppo", "grpo", "mezo")
_MOST_S = "<= 300"
Run = dict[str, Any]


def main() -> None:
    """Train every learner on every task with every seed; report the worst seed of each."""
    parser = arguments(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--continue", dest="goes_on", action="store_true", help="keep the runs that are at --json PATH")
    options = parser.parse_args()
    json_path: Path | None = options.json
    store = None if json_path is None else json_path.with_name(f"{json_path.stem}_runs.json")
    runs: list[Run] = json.loads(store.read_text()) if options.goes_on and store and store.exists() else []
    for task in options.tasks:
        for learner in options.learners:
            for seed in options.seeds:
                settings = _settings(task, learner, seed)
                if any(run["settings"] == settings for run in runs):
                    continue
                runs = [run for run in runs if (run["task"], run["learner"], run["seed"]) != (task, learner, seed)]
                runs.append(_run(task, learner, seed) | {"settings": settings})
                runs.sort(key=lambda run: (list(TASKS).index(run["task"]), LEARNERS.index(run["learner"]), run["seed"]))
                print(_line(runs_of(runs, task, learner, [seed])[0]), flush=True)
                if store is not None and json_path is not None:
                    _save(runs, store, json_path)
    report(_measurements(runs), json_path)


def runs_of(runs: Sequence[Run], task: str, learner: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """The runs of one cell, of some seeds or all."""
    cell = [run for run in runs if (run["task"], run["learner"]) == (task, learner)]
    return cell if seeds is None else [run for run in cell if run["seed"] in seeds]


def _config(task: str, learner: str) -> tuple[str, tuple[str, ...]]:
    """The config of a cell, and the options that go with it."""
    own = f"{task}_{learner}"
    return (own, ()) if (CONFIGS / f"{own}.yaml").exists() else (task, ("--learner", learner))


def _settings(task: str, learner: str, seed: int) -> str:
    """Hash of everything that a run depends on, but for the code."""
    name, _ = _config(task, learner)
    overrides = {"learner.kind": learner, "seed": seed, "rollout.workers": 2}
    text = to_yaml(load_config([CONFIGS / f"{name}.yaml"], overrides))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run(task: str, learner: str, seed: int) -> Run:
    name, options = _config(task, learner)
    options = (*options, "--workers", "2", "--seed", str(seed))
    record = launch(name, *options)
    random, optimum = record["policies"]["random"]["mean_return"], record["policies"]["optimum"]["mean_return"]
    final, starting = record["policies"]["final"], record["policies"]["starting"]
    curve = [
        [row["episodes"], round((row["mean_return"] - random) / (optimum - random), 4)] for row in record["updates"]
    ]
    return {
        "task": task,
        "learner": learner,
        "seed": seed,
        "command": " ".join(["olal launch", f"configs/{name}.yaml", *options]),
        "score": final["score"],
        "gap": optimum - final["mean_return"],
        "mean_return": final["mean_return"],
        "interval": [final["ci_low"], final["ci_high"]],
        "starting_score": starting["score"],
        "random": random,
        "optimum": optimum,
        "training_s": round(record["training_s"], 1),
        "wall_s": round(record["wall_s"], 1),
        "cpu_s": round(record["cpu_s"], 1),
        "curve": curve,
    }


def _line(run: Run) -> str:
    low, high = run["interval"]
    return (
        f"{run['task']} {run['learner']} seed {run['seed']}: score {run['score']:.3f}, gap {run['gap']:.4f} (return "
        f"{run['mean_return']:.4f}, {low:.4f} to {high:.4f}), {run['wall_s']:.0f} s, {run['cpu_s']:.0f} CPU seconds"
    )


def _measurements(runs: Sequence[Run]) -> list[Measurement]:
    """Worst seed of every cell, and its longest run; `holds` says so where a goal is missed."""
    measurements: list[Measurement] = []
    for task, (measured, goal) in TASKS.items():
        worst = min if measured == "score" else max
        for learner in LEARNERS:
            if cell := runs_of(runs, task, learner):
                name = f"{task}_{learner}"
                unit = "score" if measured == "score" else "return"
                measurements += [
                    measure(f"{name}_{measured}", worst(run[measured] for run in cell), unit, goal),
                    measure(f"{name}_wall_s", max(run["wall_s"] for run in cell), "s"),
                    measure(f"{name}_cpu_s", max(run["cpu_s"] for run in cell), "s", _MOST_S),
                ]
    return measurements


def _save(runs: Sequence[Run], store: Path, json_path: Path) -> None:
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n")
    write_json(_measurements(runs), json_path)
    for task in TASKS:
        by_learner = {learner: cell for learner in LEARNERS if (cell := runs_of(runs, task, learner))}
        if by_learner:
            draw_curves(task, by_learner, json_path.with_name(f"{json_path.stem}_{task}.png"))


if __name__ == "__main__":
    main()
