"""A cluster of several nodes on this machine that loses one while a run goes on, and gets another.

Pinned: the workers of the lost node are given up and made anew where there is room; the run goes on, and its books
balance.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap

import pytest
from run_state import await_all_pids, await_status, pids, trained_once

CLUSTER = """
    import sys
    from ray.cluster_utils import Cluster

    checks = {"initial_delay_ms": 0, "period_ms": 500, "timeout_ms": 1000, "failure_threshold": 2}
    config = {f"health_check_{name}": value for name, value in checks.items()}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": config}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    print("at", cluster.address, flush=True)
    for line in sys.stdin:
        if line == "remove\\n":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(num_cpus=1))
    cluster.shutdown()
"""


@pytest.fixture
def nodes(environment):
    """Address of a cluster of three nodes, and a function that adds or removes one."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CLUSTER)],
        env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip

    def tell(word: str) -> None:
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    address = next(line.split()[1] for line in process.stdout if line.startswith("at "))
    yield address, tell
    process.communicate(timeout=60)


def test_a_run_outlives_a_node_and_takes_another_that_comes(start, olal, nodes, tmp_path):
    (address, tell), run = nodes, tmp_path / "nodes"
    places = ("--workers", 2, "--set", "rollout.num_cpus=1", "--set", "learner.num_cpus=1")
    given = (
        "--env",
        "gridworld",
        *places,
        "--mode",
        "async",
        "--updates",
        100_000,
        "--set",
        "training.checkpoint_every=10",
    )
    process = start("launch", *given, "--address", address, "--run-dir", run)
    before = pids(await_all_pids(run, process, 2))
    tell("remove")
    lost = await_status(run, process, lambda told: told["restarts"].get("rollout"))
    await_status(run, process, lambda told: told["version"] >= lost["version"] + 5)
    tell("add")
    after = pids(await_all_pids(run, process, 2))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)

    assert process.returncode == 130
    assert len(before & after) == 1
    [told] = [json.loads(line) for line in olal("status", run, "--json").lines]
    assert told["balance"]["trained"] == len(trained_once(run))
    assert "NOT BALANCED" not in "".join(olal("status", run).lines)
