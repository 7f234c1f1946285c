"""Write the Grafana dashboard, cluster/monitoring/grafana/olal.json, from the metric registry.

    .venv/bin/python tools/grafana_dashboard.py

A panel is a title, a unit and PromQL over metrics of the registry, so that a renamed metric breaks here and not in
front of an operator. Every query asks for the runs that are chosen at the top of the dashboard.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, SortOrder, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh

from olal.metrics import Metric, registry

PATH = Path(__file__).resolve().parents[1] / "cluster" / "monitoring" / "grafana" / "olal.json"
PREFIX = "ray_"  # Ray's own, before the name of every metric
SOURCE = DataSourceRef(type_val="prometheus", uid="olal-prometheus")
WINDOW = "$__rate_interval"
OF_CHOSEN_RUNS = 'run=~"$run"'

Panel = TypeVar("Panel", timeseries.Panel, stat.Panel)


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel.

    Attributes:
        title: what is seen.
        description: how to read it.
        unit: Grafana's name of the unit.
        queries: PromQL by the legend of what it gives; the name of the run is put before it.
        most: upper end of the axis; None leaves it to Grafana.
        is_number: a single present value instead of a curve.
    """

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    most: float | None = None
    is_number: bool = False


def series(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """Select the series of a metric of the chosen runs."""
    return f"{PREFIX}{metric.name}{suffix}{{{', '.join((OF_CHOSEN_RUNS, *matchers))}}}"


def present(metric: Metric, *labels: str) -> str:
    """The present value of a gauge, by run and by `labels`; a driver that ended lingers for a while beside the next."""
    return f"max by ({', '.join(('run', *labels))}) ({series(metric)})"


def rate(metric: Metric, *labels: str, where: tuple[str, ...] = (), window: str = WINDOW) -> str:
    """Growth of a counter per second, by run and by `labels`."""
    return f"sum by ({', '.join(('run', *labels))}) (rate({series(metric, *where)}[{window}]))"


def grown(metric: Metric, *labels: str, window: str) -> str:
    """Growth of a counter over a window, by run and by `labels`."""
    return f"sum by ({', '.join(('run', *labels))}) (increase({series(metric)}[{window}]))"


def share(part: str, whole: str) -> str:
    """One number for each run divided by another."""
    return f"{part} / {whole}"


def quantiles(metric: Metric, window: str = WINDOW) -> dict[str, str]:
    """The median and the slow end of a histogram over all workers of a run."""
    buckets = f"sum by (run, le) (rate({series(metric, suffix='_bucket')}[{window}]))"
    return {"median": f"histogram_quantile(0.5, {buckets})", "99 %": f"histogram_quantile(0.99, {buckets})"}


def success(window: str) -> str:
    """The share of rated episodes that were solved."""
    solved = rate(registry.EPISODES, where=('outcome="solved"',), window=window)
    return share(solved, rate(registry.EPISODES, where=('outcome=~"solved|unsolved"',), window=window))


ROLLOUT_IDLE = share(rate(registry.ROLLOUT_IDLE_SECONDS), present(registry.ROLLOUTS_ALIVE))

ROWS: dict[str, tuple[Plot, ...]] = {
    "Now": (
        Plot("Version", "Adapters published so far.", "none", {"": present(registry.POLICY_VERSION)}, is_number=True),
        Plot("Rollout workers", "Workers that answer.", "none", {"": present(registry.ROLLOUTS_ALIVE)}, is_number=True),
        Plot("Success", "Of the last 5 minutes.", "percentunit", {"": success("5m")}, is_number=True),
        Plot(
            "Alarms", "What looked wrong in the last hour.", "none",
            {"": grown(registry.ALARMS, window="1h")}, is_number=True,
        ),
        Plot(
            "Failed episodes", "Of the last hour.", "none",
            {"": grown(registry.EPISODE_FAILURES, window="1h")}, is_number=True,
        ),
        Plot(
            "Restarts", "Actors that died in the last hour and were started anew.", "none",
            {"": grown(registry.ACTOR_RESTARTS, window="1h")}, is_number=True,
        ),
    ),
    "Throughput": (
        Plot("Episodes", "Played per second.", "eps", {"{{outcome}}": rate(registry.EPISODES, "outcome")}),
        Plot("Env steps", "Decisions per second.", "ops", {"": rate(registry.ENV_STEPS)}),
        Plot(
            "Tokens", "Of actions, per second; a forced token was the only legal one and cost no pass.", "ops",
            {"all": rate(registry.TOKENS), "forced": rate(registry.FORCED_TOKENS)},
        ),
    ),
    "Learning": (
        Plot("Return", "Mean of the newest update.", "none", {"": present(registry.EPISODE_RETURN)}),
        Plot("Success", "Share of rated episodes that were solved.", "percentunit", {"": success(WINDOW)}, most=1),
        Plot(
            "Entropy and KL", "Mean entropy of a decision; how far the newest update moved the policy. In nats.",
            "none", {"entropy": present(registry.ENTROPY), "KL": present(registry.KL)},
        ),
        Plot(
            "Engine against learner", "Largest log-probability gap at identical weights, in nats. Rounding alone "
            "is below 0.001 in float32.", "none", {"": present(registry.LOGPROB_GAP)},
        ),
        Plot(
            "Legal mass", "Mean log-probability that the unrestricted model gives to the legal tokens, in nats.",
            "none", {"": present(registry.LOG_LEGAL_MASS)},
        ),
        Plot("Alarms", "By name.", "none", {"{{alarm}}": grown(registry.ALARMS, "alarm", window=WINDOW)}),
    ),
    "Where the time goes": (
        Plot(
            "Idle", "Share of time the learner makes no update, and workers neither play nor load an adapter.",
            "percentunit", {"learner": rate(registry.LEARNER_IDLE_SECONDS), "rollouts": ROLLOUT_IDLE}, most=1,
        ),
        Plot("Learner step", "Time of an update.", "s", quantiles(registry.LEARNER_STEP_SECONDS)),
        Plot("Episode", "Wall time of an episode.", "s", quantiles(registry.EPISODE_SECONDS)),
        Plot("Weight sync", "A worker fetches, checks and loads.", "s", quantiles(registry.WEIGHT_SYNC_SECONDS)),
        Plot("Checkpoint", "Time of writing one, over 15 minutes.", "s", quantiles(registry.CHECKPOINT_SECONDS, "15m")),
        Plot("Adapter", "Bytes a worker fetches per version.", "bytes", {"": present(registry.ADAPTER_BYTES)}),
    ),
    "Workers": (
        Plot(
            "Rollout workers", "Stale ones have not shown that they act under a known adapter.", "none",
            {"alive": present(registry.ROLLOUTS_ALIVE), "stale": present(registry.STALE_WORKERS)},
        ),
        Plot("Episodes in flight", "Handed out, not back.", "none", {"": present(registry.INFLIGHT_EPISODES)}),
        Plot("Lag", "Versions behind, by worker.", "none", {"{{worker}}": present(registry.ROLLOUT_LAG, "worker")}),
        Plot(
            "Restarts", "Actors started anew, by role.", "none",
            {"{{role}}": grown(registry.ACTOR_RESTARTS, "role", window=WINDOW)},
        ),
        Plot(
            "Failed episodes", "Per second, by what happened.", "eps",
            {"{{reason}}": rate(registry.EPISODE_FAILURES, "reason")},
        ),
        Plot(
            "Digest mismatches", "Adapters that a worker rebuilt wrongly and replaced by a snapshot.", "none",
            {"": grown(registry.ADAPTER_MISMATCHES, window=WINDOW)},
        ),
    ),
    "Replay": (
        Plot(
            "Fill", "Episodes that wait, of those there is room for.", "percentunit",
            {"": share(present(registry.REPLAY_EPISODES), present(registry.REPLAY_CAPACITY))}, most=1,
        ),
        Plot("Size", "Of the episodes that wait.", "bytes", {"": present(registry.REPLAY_BYTES)}),
        Plot("Staleness", "Mean versions from acting to learning.", "none", {"": present(registry.REPLAY_STALENESS)}),
        Plot(
            "Drops", "Episodes that nobody learns from, per second, by reason.", "eps",
            {"{{reason}}": rate(registry.DROPPED_EPISODES, "reason")},
        ),
        Plot(
            "Refused deliveries", "Per second: come before, or not to be learned from as they are.", "eps",
            {"{{reason}}": rate(registry.REFUSED_DELIVERIES, "reason")},
        ),
    ),
    "Decoding": (
        Plot(
            "Passes per action", "Model passes a decision waits for.", "none",
            {"": share(rate(registry.MODEL_PASSES), rate(registry.ENV_STEPS))},
        ),
        Plot(
            "Shares of tokens", "Forced ones, of all tokens; accepted ones, of those drafted.", "percentunit",
            {
                "forced": share(rate(registry.FORCED_TOKENS), rate(registry.TOKENS)),
                "drafts accepted": share(rate(registry.DRAFTS_ACCEPTED), rate(registry.DRAFTS_PROPOSED)),
            },
            most=1,
        ),
        Plot(
            "Cut actions", "Share of actions that ended before they were a whole sentence.", "percentunit",
            {"": share(rate(registry.CUT_ACTIONS), rate(registry.ENV_STEPS))}, most=1,
        ),
    ),
}  # fmt: skip


def build() -> str:
    """The dashboard as Grafana reads it."""
    runs = dashboard.QueryVariable("run").label("run").datasource(SOURCE).multi(True).include_all(True)
    runs = runs.query(f"label_values({PREFIX}{registry.POLICY_VERSION.name}, run)").refresh(
        VariableRefresh.ON_TIME_RANGE_CHANGED
    )
    board = dashboard.Dashboard("olal").uid("olal").tags(["olal"]).refresh("10s").time("now-30m", "now").readonly()
    board = board.tooltip(DashboardCursorSync.CROSSHAIR).with_variable(runs)
    ids = itertools.count(1)
    for title, plots in ROWS.items():
        board = board.with_row(dashboard.Row(title).id(next(ids)))
        for plot in plots:
            panel = _number(plot) if plot.is_number else _curves(plot)
            board = board.with_panel(panel.id(next(ids)))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _curves(plot: Plot) -> timeseries.Panel:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = timeseries.Panel().legend(legend.show_legend(True)).tooltip(tooltip).span(8).height(8)
    panel = panel if plot.most is None else panel.min(0).max(plot.most)
    return _filled(panel, plot)


def _number(plot: Plot) -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"])
    return _filled(stat.Panel().reduce_options(last).span(4).height(4), plot)


def _filled(panel: Panel, plot: Plot) -> Panel:
    panel = panel.title(plot.title).description(plot.description).unit(plot.unit).datasource(SOURCE)
    for index, (legend, query) in enumerate(plot.queries.items()):
        target = prometheus.Dataquery().expr(query).legend_format(f"{{{{run}}}} {legend}".strip())
        panel = panel.with_target(target.ref_id(chr(ord("A") + index)))
    return panel


def main() -> None:
    """Write the file."""
    PATH.write_text(build(), encoding="utf-8")
    print(f"written: {PATH}")


if __name__ == "__main__":
    main()
