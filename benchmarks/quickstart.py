"""What the Quickstart promises: time to the first update, time to train, and the score, on three seeds.

The score is 0 for the random policy and 1 for the exact optimum; reported is the worst of the seeds.
"""

from __future__ import annotations

import subprocess
import sys
import time

from _launching import launch
from _report import arguments, measure, report


def main() -> None:
    """Launch the demo once per seed."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        record = launch("gridworld", "--workers", "2", "--seed", str(seed))
        runs.append(record)
        print(
            f"seed {seed}: score {record['score']:.3f}, starting {record['policies']['starting']['score']:.3f}, "
            f"first update after {record['first_update_s']:.1f} s, trained for {record['training_s']:.1f} s",
            flush=True,
        )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import olal"], check=True)
    import_s = time.perf_counter() - started
    report(
        [
            measure("gridworld_ppo_score", min(run["score"] for run in runs), "score", ">= 0.95"),
            measure(
                "gridworld_starting_score",
                max(run["policies"]["starting"]["score"] for run in runs),
                "score",
                "< 0.5",
            ),
            measure("first_update_s", max(run["first_update_s"] for run in runs), "s", "<= 30"),
            measure("demo_training_s", max(run["training_s"] for run in runs), "s", "<= 240"),
            measure("import_olal_s", import_s, "s", "< 0.5"),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
