"""The `olal` command: what it passes on, what it prints, and its exit codes.

Pinned: 0 done, 1 the run failed, 2 usage or config, 3 the cluster, 130 interrupted; an error is one line on stderr.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from olal.cli import app
from olal.config import load_config
from olal.errors import ClusterError, OlalError, RunDirectoryInvalid, RunFailed
from olal.experiments import doctor
from olal.experiments.doctor_torch import TorchProbe
from olal.experiments.finding import Finding
from olal.experiments.progress import EvaluationRow, RunSummary

ROOT = Path(__file__).parents[2]
PLAIN = {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}
ROWS = (EvaluationRow("final", 0.8, 0.7, 0.9, 1.0, 6.0, 0.0, 0.9),)


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def run_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "olal", *arguments]
    return subprocess.run(command, cwd=ROOT, env=PLAIN, capture_output=True, text=True, check=False)


@pytest.fixture
def experiments(monkeypatch):
    """Stand-ins for the functions that train and evaluate; they note their arguments."""
    fake = SimpleNamespace(calls=[], summary=RunSummary(Path("runs/a"), ROWS, 0.9, 0.9, 1.0, 0.5), error=None)

    def note(name):
        def function(*arguments):
            fake.calls.append((name, arguments))
            if fake.error is not None:
                raise fake.error
            return fake.summary

        return function

    launching = SimpleNamespace(launch=note("launch"), resume=note("resume"))
    monkeypatch.setitem(sys.modules, "olal.experiments.launch", launching)
    monkeypatch.setitem(sys.modules, "olal.experiments.evaluate", SimpleNamespace(evaluate_run=note("evaluate")))
    return fake


def test_dry_run_prints_the_config_it_would_run(tmp_path):
    result = call("launch", "configs/gridworld.yaml", "-n", "3", "--learner", "mezo", "--set", "seed=5", "--dry-run")
    path = tmp_path / "config.yaml"
    path.write_text(result.output)
    config = load_config([path])
    assert result.exit_code == 0
    assert (config.rollout.workers, config.learner.kind, config.seed, config.name) == (3, "mezo", 5, "gridworld")


def test_dry_run_as_json_is_one_object():
    result = call("launch", "--model", "some/dir", "--env", "gymnasium:Blackjack-v1", "--dry-run", "--json")
    record = json.loads(result.output)
    assert (record["model"]["path"], record["env"]["id"]) == ("some/dir", "gymnasium:Blackjack-v1")


def test_set_wins_over_the_named_option():
    result = call("launch", "--updates", "5", "--set", "training.updates=6", "--dry-run", "--json")
    assert json.loads(result.output)["training"]["updates"] == 6


def test_launch_hands_over_config_place_and_address(experiments):
    result = call("launch", "--run-dir", "runs/a", "--address", "auto", "--seed", "4")
    (name, (config, run_dir, address, _)) = experiments.calls[0]
    assert result.exit_code == 0
    assert (name, config.seed, run_dir, address) == ("launch", 4, Path("runs/a"), "auto")


def test_resume_hands_over_the_run_and_workers(experiments):
    result = call("resume", "runs/a", "--workers", "3")
    (name, (run_dir, address, _, workers)) = experiments.calls[0]
    assert result.exit_code == 0
    assert (name, run_dir, address, workers) == ("resume", Path("runs/a"), None, 3)


@pytest.mark.parametrize("command", [["launch"], ["resume", "runs/a"]])
def test_interrupted_run_exits_130(experiments, command):
    experiments.summary = RunSummary(Path("runs/a"), (), None, None, status="interrupted")
    assert call(*command).exit_code == 130


def test_evaluate_as_json_is_exactly_one_object_with_a_score(experiments):
    result = call("evaluate", "runs/a", "--episodes", "50", "--temperature", "0.5", "--engine", "vllm", "--json")
    assert experiments.calls == [("evaluate", (Path("runs/a"), 50, 0.5, "vllm"))]
    assert json.loads(result.stdout)["score"] == 0.9
    assert result.stdout.count("\n") == 1


def test_evaluate_prints_a_table(experiments):
    result = call("evaluate", "runs/a")
    assert experiments.calls == [("evaluate", (Path("runs/a"), None, None, None))]
    assert "final policy" in result.stdout
    assert "exact optimum" in result.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [(RunFailed("no"), 1), (RunDirectoryInvalid("no"), 2), (ClusterError("no"), 3), (KeyboardInterrupt(), 130)],
)
def test_error_decides_the_exit_code(experiments, error, code):
    experiments.error = error
    result = call("launch")
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1


def test_error_line_is_not_markup_and_has_no_traceback_of_an_actor(experiments):
    class FromActor(OlalError):
        cause = RunFailed("learner [bold]died[/bold]\nat step 3")

    experiments.error = FromActor("Traceback (most recent call last): ...")
    assert call("launch").stderr == "error: learner [bold]died[/bold] at step 3\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", "--workers", "0"], "error: rollout.workers must be at least 1; got 0\n"),
        (
            ["launch", "--learner", "dqn"],
            "error: learner.kind must be ppo or mezo or es or grpo or rloo or reinforce or rwr or sft or simpo or "
            "value or python; got 'dqn'\n",
        ),
        (["launch", "--set", "seed"], "error: --set takes key=value"),
        (["launch", "none.yaml"], "error: no such config file: none.yaml\n"),
        (["resume", "runs/a", "--workers", "0"], "error: --workers must be at least 1; got 0\n"),
        (["evaluate", "runs/a", "--episodes", "0"], "error: --episodes must be at least 1; got 0\n"),
        (["evaluate", "runs/a", "--temperature", "nan"], "error: --temperature must be at least 0; got nan\n"),
    ],
)
def test_bad_setting_is_one_line_and_exit_2(experiments, arguments, message):
    result = call(*arguments)
    assert (result.exit_code, result.stdout, experiments.calls) == (2, "", [])
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


def test_traceback_is_shown_on_request(monkeypatch):
    monkeypatch.setenv("OLAL_TRACEBACK", "1")
    result = call("launch", "--workers", "0")
    assert isinstance(result.exception, OlalError)


def test_doctor_as_json_lists_findings(monkeypatch):
    monkeypatch.setattr(doctor, "probe_torch", TorchProbe)
    result = call("doctor", "--json")
    findings = json.loads(result.stdout)["findings"]
    assert {"name", "value", "status", "advice"} == set(findings[0])
    assert result.exit_code == 0


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("missing", 3)])
def test_doctor_exits_3_if_the_cluster_it_is_shown_will_not_do(monkeypatch, status, code):
    seen = []

    def diagnose_cluster(config, address, run_dir):
        seen.append((config.rollout.workers, address, run_dir))
        return [Finding("cluster room", "2 of 16", status, "add nodes")]

    monkeypatch.setattr(doctor, "probe_torch", TorchProbe)
    monkeypatch.setitem(
        sys.modules, "olal.experiments.doctor_cluster", SimpleNamespace(diagnose_cluster=diagnose_cluster)
    )
    result = call("doctor", "configs/gridworld.yaml", "--address", "auto", "-n", "16", "--json")
    assert (result.exit_code, seen) == (code, [(16, "auto", Path("runs"))])
    assert json.loads(result.stdout)["findings"][-1]["name"] == "cluster room"


def test_process_exits_2_with_one_line_and_no_traceback():
    done = run_process("launch", "--set", "learner.learning_rat=1")
    assert done.returncode == 2
    assert done.stderr == "error: learner.learning_rat: no such key; did you mean learner.learning_rate?\n"


def test_process_exits_2_on_wrong_usage():
    assert run_process("lunch").returncode == 2


def test_help_is_light_and_shows_examples():
    code = (
        "import runpy, sys\nsys.argv = ['olal', 'launch', '--help']\n"
        "try: runpy.run_module('olal', run_name='__main__')\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'vllm', 'gymnasium', 'transformers', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=PLAIN, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "olal launch configs/gridworld.yaml --workers 2" in done.stdout
