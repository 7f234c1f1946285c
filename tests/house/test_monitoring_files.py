"""Prometheus and Grafana beside a cluster: the files name each other's parts and open nothing to the outside.

Pinned: Prometheus reads the file that Ray writes; alerts are about metrics of the registry; the dashboard asks the
provisioned data source; every address is on the loopback interface; whatever is mounted exists.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

from olal.metrics import registry

FOLDER = Path(__file__).parents[2] / "cluster" / "monitoring"
PROVISIONING = FOLDER / "grafana" / "provisioning"


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


COMPOSE = read(FOLDER / "docker-compose.yml")
[SOURCE] = read(PROVISIONING / "datasources" / "prometheus.yml")["datasources"]


def test_prometheus_reads_the_file_in_which_ray_lists_its_nodes():
    [job] = read(FOLDER / "prometheus.yml")["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]


def test_every_panel_asks_the_provisioned_source_whose_interval_is_that_of_the_scrapes():
    dashboard = json.loads((FOLDER / "grafana" / "olal.json").read_text(encoding="utf-8"))
    asked = {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"}
    assert asked == {SOURCE["uid"]} == {dashboard["templating"]["list"][0]["datasource"]["uid"]}
    assert SOURCE["jsonData"]["timeInterval"] == read(FOLDER / "prometheus.yml")["global"]["scrape_interval"]


def test_every_address_is_on_the_loopback_interface():
    services = COMPOSE["services"]
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert SOURCE["url"] == "http://127.0.0.1:9090"
    assert not any("ports" in service for service in services.values())


def test_what_is_mounted_from_here_exists_and_images_have_a_version():
    for service in COMPOSE["services"].values():
        mounted = [volume.split(":")[0] for volume in service["volumes"]]
        assert all((FOLDER / path).exists() for path in mounted if path.startswith("./"))
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_dashboards_are_looked_for_where_they_are_mounted():
    paths = [one["options"]["path"] for one in read(PROVISIONING / "dashboards" / "dashboards.yml")["providers"]]
    targets = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert all(any(path.startswith(target) or target.startswith(path) for target in targets) for path in paths)


def test_alerts_ask_for_metrics_of_the_registry_and_name_the_run():
    [group] = read(FOLDER / "alerts.yml")["groups"]
    for rule in group["rules"]:
        nodes: list[Any] = []
        promql_parser.walk(promql_parser.parse(rule["expr"]), nodes.append)
        names = {node.name for node in nodes if isinstance(node, promql_parser.VectorSelector)}
        assert names <= {f"ray_{name}" for name in registry.METRICS}
        assert "{{ $labels.run }}" in rule["annotations"]["summary"]
