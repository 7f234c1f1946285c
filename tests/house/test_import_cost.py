"""What an import costs, measured in a process of its own.

Pinned: `import olal` takes under half a second and brings no heavy library; the light modules stay light, whatever
their parents' `__init__` import, which the import contracts do not see.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("gymnasium", "peft", "ray", "torch", "transformers", "vllm")
ACTOR_STACK = ("ray", "torch", "vllm")
LIGHT_MODULES = [
    "olal.adapters",
    "olal.agents",
    "olal.cli",
    "olal.config",
    "olal.console",
    "olal.envs",
    "olal.experiments",
    "olal.experiments.progress",
    "olal.grammar",
    "olal.inference",
    "olal.learners.base",
    "olal.metrics",
    "olal.models.model_path",
    "olal.replay",
    "olal.returns",
    "olal.rollout",
    "olal.types",
]


def import_in_new_process(name: str) -> tuple[float, set[str]]:
    """Seconds that the import took, and the top-level modules loaded after it."""
    lines = [
        "import sys, time",
        "start = time.perf_counter()",
        f"import {name}",
        "print(time.perf_counter() - start, *{key.partition('.')[0] for key in sys.modules})",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    return float(seconds), set(modules)


def test_import_olal_is_fast_and_brings_nothing_heavy():
    durations_s = []
    for _ in range(3):
        duration_s, modules = import_in_new_process("olal")
        assert modules.isdisjoint(HEAVY)
        durations_s.append(duration_s)
    assert min(durations_s) < 0.5


@pytest.mark.parametrize("name", LIGHT_MODULES)
def test_a_light_module_loads_neither_ray_nor_torch(name):
    _, modules = import_in_new_process(name)
    assert modules.isdisjoint(ACTOR_STACK)
