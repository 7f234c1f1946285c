"""What an operator sees of a real run, through a real Prometheus.

Pinned: the Prometheus of cluster/monitoring finds a run by itself; it serves every metric of the registry; every query
of the dashboard has an answer; what it counts is what the run wrote. Needs `prometheus` on PATH and skips without.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from olal.metrics import registry

MONITORING = Path(__file__).parents[2] / "cluster" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "olal.json").read_text(encoding="utf-8"))
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}
TIMEOUT_S = 120

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="needs prometheus on PATH (Debian and Ubuntu: apt-get install prometheus)",
)

UNSTEADY_ENV = '''
import gymnasium

class Door(gymnasium.Env):
    """Push the door. Every tenth episode it falls out of its frame."""

    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(2)
    resets = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Door.resets += 1
        self.is_loose = Door.resets % 10 == 0
        return 0, {}

    def step(self, action):
        if self.is_loose:
            raise RuntimeError("the door fell out of its frame")
        return 1, float(action), True, False, {"is_success": bool(action)}
'''


class Prometheus:
    """A Prometheus server, asked over its HTTP API."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/"

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The instant value of each series of the answer."""
        filled = query.replace("$__rate_interval", "10s").replace("$run", "door")
        return self._get("query?" + urllib.parse.urlencode({"query": filled}))["result"]

    def names(self) -> set[str]:
        return set(self._get("label/__name__/values"))

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._api + path, timeout=10) as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def ray_folder() -> Iterator[Path]:
    """Ray's temporary files; short, since the names of its sockets must be."""
    with tempfile.TemporaryDirectory(prefix="olal-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def environment(environment: dict[str, str], ray_folder: Path) -> dict[str, str]:
    return environment | {"RAY_TMPDIR": str(ray_folder), "RAY_metrics_report_interval_ms": "1000"}


@pytest.fixture
def prometheus(ray_folder: Path, tmp_path: Path) -> Iterator[Prometheus]:
    """The shipped configuration, but for where Ray's files are and how often it looks."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"]["scrape_interval"] = "1s"
    [found] = config["scrape_configs"][0]["file_sd_configs"]
    found["files"] = [path.replace("/tmp/ray/", f"{ray_folder}/ray/") for path in found["files"]]
    found["refresh_interval"] = "1s"
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    process = subprocess.Popen(
        ["prometheus", *options], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield Prometheus(port)
    process.terminate()
    process.wait(30)


def await_empty(left: Callable[[], set[str]], run: subprocess.Popen[str]) -> set[str]:
    """Ask again until nothing is left to come, or it is too late; returns what is missing then."""
    deadline = time.monotonic() + TIMEOUT_S
    missing: set[str] = {"an answer"}
    while missing and time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.5)
        try:
            missing = left()
        except OSError:  # not up yet
            continue
    return missing


@pytest.mark.timeout(400)
def test_a_run_shows_every_metric_and_answers_every_query_of_the_dashboard(start, prometheus, tmp_path):
    (tmp_path / "door.py").write_text(UNSTEADY_ENV)
    options = ("--workers", 1, "--updates", 100_000, "--set", "training.checkpoint_every=2")
    run = start("launch", "--env", "python:door:Door", "--run-dir", tmp_path / "door", *options)
    suffix = {"counter": "", "gauge": "", "histogram": "_bucket"}
    expected = {f"ray_{metric.name}{suffix[metric.kind]}" for metric in registry.METRICS.values()}

    missing = await_empty(lambda: expected - prometheus.names(), run)
    silent = await_empty(lambda: {name for name, query in QUERIES.items() if not prometheus.ask(query)}, run)
    [failures] = prometheus.ask('ray_olal_episode_failures_total{run="$run", reason="env_raised"}')
    [rate] = prometheus.ask('sum by (run) (rate(ray_olal_env_steps_total{run="$run"}[10s]))')
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)

    assert (missing, silent) == (set(), set())
    last = json.loads((tmp_path / "door" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < float(failures["value"][1]) <= last["failed_episodes"]
    assert float(rate["value"][1]) > 0
