"""The Grafana dashboard asks only for what a run says, and shows all of it.

Pinned: the file on disk is what the tool writes; every query is PromQL over metrics and labels of the registry, of the
chosen runs alone; every metric is on a panel.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from olal.metrics import registry

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "cluster" / "monitoring" / "grafana" / "olal.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(f"{panel['id']} {panel['title']}", target["expr"]) for panel in PANELS for target in panel["targets"]]
EACH_QUERY = pytest.mark.parametrize("query", [query for _, query in QUERIES], ids=[name for name, _ in QUERIES])


def nodes_of(query: str) -> list[Any]:
    """Every node of the query's syntax tree; Grafana's own variables get the values it would fill in."""
    nodes: list[Any] = []
    tree = promql_parser.parse(query.replace("$__rate_interval", "40s"))
    promql_parser.walk(tree, nodes.append)
    return nodes


def metric_of(series: str) -> str:
    """Name in the registry of a series that Ray exports."""
    assert series.startswith("ray_")
    name = series.removeprefix("ray_")
    return name if name in registry.METRICS else name.removesuffix("_bucket")


def selectors_of(query: str) -> list[Any]:
    return [node for node in nodes_of(query) if isinstance(node, promql_parser.VectorSelector)]


def test_the_file_on_disk_is_what_the_tool_writes():
    spec = importlib.util.spec_from_file_location("grafana_dashboard", ROOT / "tools" / "grafana_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PATH.read_text(encoding="utf-8") == tool.build(), "run: .venv/bin/python tools/grafana_dashboard.py"


@EACH_QUERY
def test_a_query_asks_for_a_metric_of_the_registry_and_for_the_chosen_runs(query):
    for selector in selectors_of(query):
        assert metric_of(selector.name) in registry.METRICS
        assert ("run", "$run") in {(matcher.name, matcher.value) for matcher in selector.matchers.matchers}


@EACH_QUERY
def test_a_query_uses_the_labels_that_its_metrics_have(query):
    known = {
        "le",
        *(label for one in selectors_of(query) for label in registry.METRICS[metric_of(one.name)].label_names),
    }
    matched = {matcher.name for one in selectors_of(query) for matcher in one.matchers.matchers}
    grouped = {
        label
        for node in nodes_of(query)
        if isinstance(node, promql_parser.AggregateExpr)
        for label in node.modifier.labels
    }
    assert matched | grouped <= known


@EACH_QUERY
def test_only_counters_and_buckets_are_taken_the_rate_of(query):
    for call in nodes_of(query):
        if isinstance(call, promql_parser.Call) and call.func.name in ("rate", "increase"):
            [selector] = selectors_of(call.prettify())
            assert registry.METRICS[metric_of(selector.name)].kind in ("counter", "histogram")


def test_every_metric_is_on_a_panel():
    shown = {metric_of(selector.name) for _, query in QUERIES for selector in selectors_of(query)}
    assert set(registry.METRICS) - shown == set()


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
