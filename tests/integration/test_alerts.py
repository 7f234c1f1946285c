"""The alerts of cluster/monitoring, put to the test by Prometheus itself over half an hour of made-up series.

Pinned: a healthy run fires none; each alert fires for its own trouble and no other. Needs `promtool` on PATH, which
comes with Prometheus, and skips without.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

RULES = Path(__file__).parents[2] / "cluster" / "monitoring" / "alerts.yml"
ALERTS = [rule["alert"] for rule in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]]

HEALTHY = {
    "ray_olal_policy_version": "0+1x40",
    "ray_olal_rollouts_alive": "2x40",
    "ray_olal_stale_workers": "0x40",
    'ray_olal_episodes_total{outcome="solved"}': "0+100x40",
    'ray_olal_episodes_total{outcome="failed"}': "0+1x40",
    'ray_olal_actor_restarts_total{role="rollout"}': "0x40",
    'ray_olal_alarms_total{alarm="stall"}': "0x40",
}
TROUBLE = {
    "OlalRunStalled": ("ray_olal_policy_version", "7x40", {}),
    "OlalNoRolloutWorkers": ("ray_olal_rollouts_alive", "0x40", {}),
    "OlalStaleWorkers": ("ray_olal_stale_workers", "1x40", {}),
    "OlalEpisodesFail": ('ray_olal_episodes_total{outcome="failed"}', "0+50x40", {}),
    "OlalActorsRestart": ('ray_olal_actor_restarts_total{role="rollout"}', "0+1x40", {"role": "rollout"}),
    "OlalAlarm": ('ray_olal_alarms_total{alarm="stall"}', "0+1x40", {"alarm": "stall"}),
}

pytestmark = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool on PATH (Debian and Ubuntu: apt-get install prometheus)"
)


def with_run(series: str) -> str:
    """The series, labelled with the run."""
    return f'{series[:-1]}, run="demo"}}' if series.endswith("}") else f'{series}{{run="demo"}}'


def verdict(folder: Path, series: dict[str, str], fired: dict[str, dict[str, str]]) -> str:
    """What promtool says of the claim that after half an hour exactly the alerts `fired` fire; empty where it holds."""
    checks = [
        {
            "eval_time": "30m",
            "alertname": alert,
            "exp_alerts": [{"exp_labels": {"run": "demo", **fired[alert]}, "exp_annotations": {}}]
            if alert in fired
            else [],
        }
        for alert in ALERTS
    ]
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        del rule["annotations"]
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    inputs = [{"series": with_run(name), "values": values} for name, values in series.items()]
    case: dict[str, Any] = {"interval": "1m", "input_series": inputs, "alert_rule_test": checks}
    (folder / "case.yml").write_text(yaml.safe_dump({"rule_files": ["alerts.yml"], "tests": [case]}), encoding="utf-8")
    done = subprocess.run(["promtool", "test", "rules", "case.yml"], cwd=folder, capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_the_shipped_files_are_valid():
    done = subprocess.run(
        ["promtool", "check", "config", RULES.parent / "prometheus.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_a_healthy_run_fires_no_alert(tmp_path):
    assert verdict(tmp_path, HEALTHY, {}) == ""


def test_a_run_that_began_ten_minutes_ago_is_not_stalled_yet(tmp_path):
    assert verdict(tmp_path, HEALTHY | {"ray_olal_policy_version": "_x20 1x20"}, {}) == ""


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_for_its_own_trouble_alone(alert, tmp_path):
    series, values, labels = TROUBLE[alert]
    assert verdict(tmp_path, HEALTHY | {series: values}, {alert: labels}) == ""
