"""How long the vLLM engine takes from a bare process to its first completion, importing included.

Run it in .venv-vllm: `make bench-vllm` does. Each start is a process of its own, as a rollout worker is.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

from _report import arguments, measure, report

_START = """
import json, sys, time
from olal.config import load_config
from olal.experiments.build import build_engine
from olal.grammar import choice_grammar
from olal.types import GenerateRequest, Message, SamplingParams
engine, _ = build_engine(load_config([], {"engine.kind": "vllm"}))
ready, cpu_s = time.time(), time.process_time()
prompt = engine.encode([Message("user", "lake row=0 col=0")])
grammar = choice_grammar(['{"move":"left"}', '{"move":"right"}'])
[completion] = engine.generate([GenerateRequest(prompt, grammar, SamplingParams(), 0)])
assert completion.stop_reason == "grammar", completion
print(json.dumps({"ready_s": ready - float(sys.argv[1]), "first_s": time.time() - float(sys.argv[1]), "cpu_s": cpu_s}))
"""


def main() -> None:
    """Start the engine a few times and take the median."""
    parser = arguments(__doc__)
    parser.add_argument("--starts", type=int, default=3)
    options = parser.parse_args()
    starts = [start() for _ in range(options.starts)]
    ready, first, cpu = (statistics.median(one[key] for one in starts) for key in ("ready_s", "first_s", "cpu_s"))
    report(
        [
            measure("vllm_ready_to_generate_s", ready, "s", "<= 15"),
            measure("vllm_first_completion_s", first, "s"),
            measure("vllm_ready_processor_s", cpu, "s"),
        ],
        options.json,
    )


def start() -> dict[str, float]:
    """Seconds from before the process exists."""
    command = [sys.executable, "-c", _START, str(time.time())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
