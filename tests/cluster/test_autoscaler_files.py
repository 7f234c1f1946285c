"""What `ray up` reads is what Ray takes.

Pinned: Ray's own check accepts each file and refuses an unknown key; tokens are on wherever Ray starts; the dashboard
listens on loopback alone; the head gives no CPU to rollouts; runs/ is mounted before the container starts.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import ray.autoscaler

SCHEMA = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text(encoding="utf-8"))


def check(config):
    """Ray's own check where this Ray still has it, else the schema that it ships."""
    try:
        from ray.autoscaler._private.util import prepare_config, validate_config
    except ImportError:
        jsonschema.validate(config, SCHEMA)
        return config
    prepared = prepare_config(config)
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_file_and_gives_it_16_workers(autoscaler_config):
    prepared = check(autoscaler_config)
    assert prepared["max_workers"] == 16
    assert prepared["cluster_name"] == "olal"


@pytest.mark.parametrize("place", [(), ("auth",), ("docker",)])
def test_a_key_that_does_not_exist_is_refused(autoscaler_config, place):
    part = autoscaler_config
    for key in place:
        part = part[key]
    part["idle_timeout_minuets"] = 5
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        check(autoscaler_config)


def test_ray_starts_with_tokens_open_files_and_metrics(autoscaler_config):
    for role in ("head", "worker"):
        stop, start = autoscaler_config[f"{role}_start_ray_commands"]
        assert stop == "ray stop"
        assert start.startswith("ulimit -n 65536; export RAY_AUTH_MODE=token; ray start ")
        assert "--metrics-export-port=8080" in start
        assert "--object-manager-port=8076" in start
    assert autoscaler_config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


def test_the_head_keeps_its_dashboard_to_itself_and_takes_no_rollouts(autoscaler_config):
    words = autoscaler_config["head_start_ray_commands"][1].split()
    assert {"--head", "--port=6379", "--dashboard-host=127.0.0.1", "--num-cpus=0"} <= set(words)
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in words
    assert "--address=$RAY_HEAD_IP:6379" in autoscaler_config["worker_start_ray_commands"][1].split()


def test_clouds_give_back_idle_spot_workers_and_keep_the_head(autoscaler_config):
    if autoscaler_config["provider"]["type"] == "local":
        assert len(set(autoscaler_config["provider"]["worker_ips"])) == autoscaler_config["max_workers"]
        return
    types = autoscaler_config["available_node_types"]
    head, rollout = types[autoscaler_config["head_node_type"]], types["rollout"]
    assert head["resources"]["CPU"] == 0
    assert (rollout["min_workers"], rollout["max_workers"]) == (0, 16)
    assert rollout["labels"] == {"olal/role": "rollout", "olal/market": "spot"}
    assert "spot" in json.dumps(rollout["node_config"]).lower().replace("preemptible", "spot")
    assert "spot" not in json.dumps(head["node_config"]).lower().replace("preemptible", "spot")
    assert 0 < autoscaler_config["idle_timeout_minutes"] <= 60


def test_the_runs_directory_is_a_shared_file_system_mounted_into_the_container(autoscaler_config):
    commands = autoscaler_config["initialization_commands"]
    [mount] = [command for command in commands if "mount -t nfs" in command]
    assert mount.startswith("mountpoint -q /mnt/olal || sudo mount")
    assert any("chown 1000:1000 /mnt/olal/runs" in command for command in commands)
    assert "-v /mnt/olal/runs:/home/ray/olal/runs" in autoscaler_config["docker"]["run_options"]
    assert "--ulimit nofile=65536:65536" in autoscaler_config["docker"]["run_options"]


def test_what_the_autoscaler_needs_on_the_head_is_pinned(autoscaler_config):
    for command in autoscaler_config["head_setup_commands"]:
        words = command.split()
        assert words[:3] == ["pip", "install", "--user"]
        assert all("==" in word for word in words[3:])
