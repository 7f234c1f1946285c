"""Final scores of the shipped configs: 0 is the random policy, 1 the exact optimum by dynamic programming."""

from __future__ import annotations

from _launching import CONFIGS, launch
from _report import arguments, measure, report


def main() -> None:
    """Train by every config and seed; report the worst seed of each."""
    parser = arguments(__doc__)
    parser.add_argument("--configs", nargs="+", default=sorted(path.stem for path in CONFIGS.glob("*.yaml")))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    measurements = []
    for config in options.configs:
        runs = [launch(config, "--workers", "2", "--seed", str(seed)) for seed in options.seeds]
        for seed, run in zip(options.seeds, runs, strict=True):
            returns = {policy: row["mean_return"] for policy, row in run["policies"].items()}
            table = ", ".join(f"{policy} {value:.3f}" for policy, value in returns.items())
            print(f"{config} seed {seed}: score {run['score']:.3f} in {run['training_s']:.0f} s ({table})", flush=True)
        measurements.append(measure(f"{config}_score", min(run["score"] for run in runs), "score"))
    report(measurements, options.json)


if __name__ == "__main__":
    main()
