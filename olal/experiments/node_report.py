"""NodeReport: what the nodes of a cluster say about themselves, asked by a task on each of them."""

from __future__ import annotations

import contextlib
import platform
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PACKAGES = ("olal", "ray", "torch", "transformers", "tokenizers", "llguidance", "numpy")
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node.

    Attributes:
        name: its host name and address.
        is_own: whether this process runs on it.
        resources: all that Ray may hand out there, such as CPU and GPU.
        versions: of Python and of the packages whose numbers must agree everywhere; empty if it could not be asked.
        sees_run_dir: whether it sees a file just written to the run directory.
        problem: why it could not be asked; empty where it could.
    """

    name: str
    is_own: bool
    resources: Mapping[str, float]
    versions: Mapping[str, str] = field(default_factory=dict)
    sees_run_dir: bool = False
    problem: str = ""

    @property
    def object_store_bytes(self) -> int:
        """Capacity of its object store."""
        return int(self.resources.get("object_store_memory", 0))


def alive_nodes() -> list[NodeReport]:
    """The nodes as the head node knows them; nobody is asked."""
    own = ray.get_runtime_context().get_node_id()
    return [
        NodeReport(f"{node['NodeManagerHostname']} ({node['NodeName']})", node["NodeID"] == own, node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]


def ask_nodes(run_dir: Path, timeout_s: float = _TIMEOUT_S) -> list[NodeReport]:
    """Ask every node that is alive; the answers take as long as the start of a worker process.

    Args:
        run_dir: where a file is written to see who sees it; it is removed again.
        timeout_s: how long to wait for all answers together.
    """
    own = ray.get_runtime_context().get_node_id()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    ask: Any = ray.remote(num_cpus=0, max_retries=0)(look)
    with _probe(run_dir) as probe:
        places = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        refs = [ask.options(scheduling_strategy=place).remote(str(probe)) for place in places]
        ray.wait(refs, num_returns=len(refs), timeout=timeout_s, fetch_local=False)
        answers = [_answer(ref) for ref in refs]
    return [
        NodeReport(
            f"{node['NodeManagerHostname']} ({node['NodeName']})", node["NodeID"] == own, node["Resources"], **answer
        )
        for node, answer in zip(nodes, answers, strict=True)
    ]


def look(probe: str) -> dict[str, Any]:
    """Runs on a node: its versions, and whether it sees the file."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"versions": versions, "sees_run_dir": Path(probe).is_file()}


def _answer(ref: Any) -> dict[str, Any]:
    try:
        return ray.get(ref, timeout=0)
    except GetTimeoutError:
        return {"problem": "it does not answer"}
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return {"problem": lines[-1] if lines else type(error).__name__}


@contextlib.contextmanager
def _probe(run_dir: Path) -> Iterator[Path]:
    """A file of a new name, so that no file system has cached that it is not there."""
    made = [path for path in (run_dir, *run_dir.parents) if not path.exists()]
    run_dir.mkdir(parents=True, exist_ok=True)
    probe = run_dir.absolute() / f".probe-{secrets.token_hex(8)}"
    probe.touch()
    try:
        yield probe
    finally:
        probe.unlink()
        for path in made:
            path.rmdir()
