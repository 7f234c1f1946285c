"""The loop on real Ray, as a user runs it.

Pinned here: the demo solves its task from one command; a run killed and resumed ends, bit for bit, with the adapter of
the run of the same seed that was never stopped; Ctrl-C once drains; failed episodes are counted and survived.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from olal.models.model_path import TINY_PATH
from olal.replay import read_episodes

CONFIG = Path(__file__).parents[2] / "configs" / "gridworld.yaml"
SHORT = ("--updates", 4, "--set", "training.checkpoint_every=2", "--set", "evaluation.episodes=8")

FRAGILE_ENV = '''
import gymnasium

class Coin(gymnasium.Env):
    """Say heads. Every tenth episode breaks, or every one."""

    resets = 0

    def __init__(self, always=False):
        self.action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = gymnasium.spaces.Discrete(2)
        self.always = always

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Coin.resets += 1
        self.is_broken = self.always or Coin.resets % 10 == 0
        return 0, {}

    def step(self, action):
        if self.is_broken:
            raise RuntimeError("the coin rolled under the table")
        return 1, float(action == 1), True, False, {}
'''

PRIORITIES = """
import os
from olal.experiments.ray_environment import prepare_ray_environment
prepare_ray_environment()
import ray

@ray.remote
class Actor:
    def niceness(self):
        return os.getpriority(os.PRIO_PROCESS, 0)

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
print(ray.get(Actor.remote().niceness.remote()) - os.getpriority(os.PRIO_PROCESS, 0))
"""


def adapter_digest(run: Path) -> str:
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    return json.loads((checkpoint / "state.json").read_text())["adapter_digest"]


@pytest.mark.timeout(400)
def test_the_demo_starts_ray_and_solves_the_grid_world_and_evaluate_confirms_it(olal, tmp_path):
    run = tmp_path / "demo"

    result = olal("launch", CONFIG, "--workers", 2, "--run-dir", run, "--json", timeout_s=300)

    assert result.code == 0, result.errors
    [started], [finished] = result.events("started"), result.events("finished")
    rows = {row["policy"]: row for row in finished["rows"]}
    assert started["dashboard_url"].startswith("http://127.0.0.1:")
    assert finished["score"] >= 0.95
    assert rows["starting"]["score"] < 0.5
    assert rows["final"]["invalid_rate"] == 0
    assert max(event["extra"]["max_logprob_gap"] for event in result.events("updated")) < 1e-4
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 30
    assert {episode.task.episode_id for episode in read_episodes(run / "episodes")} == set(range(30 * 64))
    assert not [path for path in run.rglob("*") if path.suffix in (".pkl", ".pickle", ".pt", ".bin")]

    measured = olal("evaluate", run, "--episodes", 20, "--json")

    assert measured.code == 0, measured.errors
    [record] = [json.loads(line) for line in measured.lines]
    assert {row["policy"] for row in record["rows"]} == {"final", "starting", "random", "optimum"}
    assert record["optimum"] == pytest.approx(0.91)
    assert record["score"] == next(row["score"] for row in record["rows"] if row["policy"] == "final") >= 0.95


def test_a_run_killed_and_resumed_equals_one_never_stopped(start, olal, head, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ("--updates", 10, "--set", "training.checkpoint_every=2", "--set", "evaluation.episodes=8")
    assert olal("launch", CONFIG, "--address", head, "--run-dir", whole, *options).code == 0

    process = start("launch", CONFIG, "--address", head, "--run-dir", broken, *options)
    await_lines(broken / "metrics.jsonl", 3, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = olal("resume", broken, "--address", head)

    assert resumed.code == 0, resumed.errors
    assert adapter_digest(broken) == adapter_digest(whole)
    versions = [json.loads(line)["version"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert versions == list(range(1, 11))
    weights = [
        load_file(sorted((run / "checkpoints").iterdir())[-1] / "learner.safetensors") for run in (whole, broken)
    ]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_ctrl_c_drains_and_checkpoints(start, head, tmp_path):
    run = tmp_path / "interrupted"
    process = start("launch", CONFIG, "--address", head, "--run-dir", run, "--updates", 10_000, "--json")
    await_lines(run / "metrics.jsonl", 2, process)

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    last = json.loads(out.splitlines()[-1])
    versions = [json.loads(line)["version"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert process.returncode == 130
    assert last["event"] == "finished"
    assert last["status"] == "interrupted"
    assert (run / "checkpoints" / f"step-{versions[-1]:08d}" / "COMMIT").is_file()


def test_an_environment_that_raises_fails_its_episodes_and_the_run_goes_on(olal, head, tmp_path):
    (tmp_path / "fragile.py").write_text(FRAGILE_ENV)
    run = tmp_path / "fragile-run"

    result = olal("launch", "--env", "python:fragile:Coin", "--address", head, "--run-dir", run, "--json", *SHORT)

    assert result.code == 0, result.errors
    last = result.events("updated")[-1]
    failed = [episode.error for episode in read_episodes(run / "episodes") if episode.error]
    assert 0 < last["failed_episodes"] == len(failed) < last["episodes"]
    assert "the coin rolled under the table" in failed[0]


def test_an_environment_that_always_raises_fails_the_run_in_one_line(olal, head, tmp_path):
    (tmp_path / "fragile.py").write_text(FRAGILE_ENV)
    options = ("--set", "env.options.always=true", "--run-dir", tmp_path / "hopeless", "--address", head)

    result = olal("launch", "--env", "python:fragile:Coin", *options, *SHORT)

    assert result.code == 1
    assert len(result.errors) == 1
    assert "each of the last 128 episodes failed" in result.errors[0]
    assert "the coin rolled under the table" in result.errors[0]


def test_more_workers_than_the_cluster_can_place_are_refused_within_30_seconds(olal, head, tmp_path):
    run = tmp_path / "crowd"

    result = olal("launch", CONFIG, "--address", head, "--workers", 16, "--run-dir", run)

    assert result.code == 3
    assert result.seconds < 30
    assert "16 CPU wanted, 2 available" in result.errors[-1]
    assert not run.exists()


def test_a_second_run_of_the_same_name_on_a_cluster_is_refused(start, olal, head, tmp_path):
    first = start(
        "launch", CONFIG, "--address", head, "--run-dir", tmp_path / "a" / "twin", "--workers", 1, "--updates", 10_000
    )
    await_lines(tmp_path / "a" / "twin" / "metrics.jsonl", 1, first)

    result = olal("launch", CONFIG, "--address", head, "--run-dir", tmp_path / "b" / "twin", "--workers", 1)

    assert result.code == 3
    assert "a run of this name is on the cluster already" in result.errors[-1]
    assert not (tmp_path / "b" / "twin").exists()


def test_an_address_where_nothing_listens_is_refused_at_once(olal, tmp_path):
    result = olal("launch", CONFIG, "--address", "127.0.0.1:9", "--run-dir", tmp_path / "nowhere")

    assert result.code == 3
    assert result.seconds < 15
    assert result.errors[-1].startswith("error: no Ray cluster answers")
    assert not (tmp_path / "nowhere").exists()


def test_a_model_that_cannot_be_loaded_is_a_config_error_that_leaves_nothing(olal, head, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (model / name).write_bytes((TINY_PATH / name).read_bytes())

    result = olal("launch", "--model", model, "--address", head, "--run-dir", tmp_path / "run")

    assert result.code == 2
    assert result.errors[-1].startswith("error: the model cannot be loaded")
    assert not (tmp_path / "run").exists()


def await_lines(path: Path, count: int, process: subprocess.Popen[str], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never had {count} lines")


def test_an_actor_of_a_ray_that_a_command_starts_is_scheduled_like_the_command(environment):
    found = subprocess.run(
        [sys.executable, "-c", PRIORITIES], env=environment, capture_output=True, text=True, check=True, timeout=100
    )
    assert found.stdout.split() == ["0"]
