"""launch and resume: a config in, a trained adapter and a comparison out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from olal.actors import RayMeter
from olal.adapters import Publication
from olal.config import RunConfig
from olal.envs import Environment
from olal.experiments.asynchronous import AsynchronousTraining
from olal.experiments.cluster import await_capacity, connected, plan_placement
from olal.experiments.cluster_checks import require_object_store, require_sound_nodes
from olal.experiments.comparison import compare
from olal.experiments.crew import Crew
from olal.experiments.incidents import Incidents
from olal.experiments.interrupt import listening
from olal.experiments.preflight import check_config
from olal.experiments.progress import Progress, RunInfo, RunSummary
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_lock import is_running, run_lock
from olal.experiments.run_metrics import RunMetrics
from olal.experiments.seeds import evaluation_tasks
from olal.experiments.synchronous import SynchronousTraining
from olal.metrics import json_line


def launch(config: RunConfig, run_dir: Path | None, address: str | None, progress: Progress) -> RunSummary:
    """Train from the untrained adapter.

    Args:
        config: every setting.
        run_dir: a new directory; None chooses one under runs/.
        address: of a running cluster; None starts Ray here, unless $RAY_ADDRESS says otherwise.
        progress: is told what happens.

    Returns:
        The comparison of policies, or status "interrupted".

    Raises:
        OlalError: one of its kinds; before training starts nothing is left behind.
    """
    env = check_config(config)
    run = RunDirectory.create(run_dir or RunDirectory.default_path(config.name), config)
    try:
        return _run(config, env, run, address, progress)
    except BaseException:
        if not (is_running(run.lock_path) or run.has_begun()):  # someone may have resumed it before it was locked here
            run.discard()
        raise


def resume(run_dir: Path, address: str | None, progress: Progress, workers: int | None = None) -> RunSummary:
    """Go on from the newest complete checkpoint of a run, or from its start where there is none yet.

    Args:
        run_dir: of the run.
        address: as in `launch`.
        progress: as in `launch`.
        workers: another number of rollout workers than before.

    Raises:
        RunDirectoryInvalid: it is no run, or another process is running it.
    """
    run = RunDirectory.open(run_dir)
    config = run.read_config()
    if workers is not None:
        config = config.model_copy(update={"rollout": config.rollout.model_copy(update={"workers": workers})})
    return _run(config, check_config(config), run, address, progress)


def _run(config: RunConfig, env: Environment, run: RunDirectory, address: str | None, progress: Progress) -> RunSummary:
    born = time.monotonic()
    with run_lock(run.lock_path):
        progress.status("starting Ray" if address is None else f"connecting to {address}")
        with (
            connected(config, address) as dashboard_url,  # first, since Ray takes SIGTERM for itself
            listening(lambda: progress.status("stopping with a checkpoint; Ctrl-C again stops at once")) as interrupt,
        ):
            placement = plan_placement(config)
            await_capacity(config, placement)
            require_sound_nodes(placement, run.path)
            progress.status("loading models")
            measured = RunMetrics(RayMeter(), run.path.name, config.env.id)
            incidents = Incidents(run.events_path, progress.status, measured.restarted, measured.alarmed)
            crew = Crew(config, placement, run, incidents)
            kind = AsynchronousTraining if config.mode == "async" else SynchronousTraining
            crew.start(config.rollout.workers, lambda: interrupt.is_requested, wait_for_all=kind.waits_for_all_workers)
            progress.started(RunInfo(run.path, dashboard_url, config.rollout.workers, config.num_updates))
            starting = crew.starting()
            require_object_store(crew.current().published_bytes)
            training = kind(config, crew, run, progress, interrupt, incidents, measured)
            started = time.monotonic()
            final = training.run()
            first = training.first_update_at
            timings = {"training_s": time.monotonic() - started, "first_update_s": first and first - born}
            if interrupt.is_requested:
                summary = RunSummary(run.path, (), None, None, status="interrupted", **timings)
            else:
                progress.status("evaluating")
                played = {"final": crew.final(final.version), "starting": starting}
                summary = replace(_evaluate(config, crew, env, run, played), **timings)
                try:
                    write_evaluation(run, summary)
                except OSError as error:
                    incidents.alarm("evaluation_not_written", f"{error.strerror}: {run.evaluation_path}")
            incidents.close()
    env.close()
    progress.finished(summary)
    return summary


def _evaluate(
    config: RunConfig, crew: Crew, env: Environment, run: RunDirectory, adapters: Mapping[str, Publication]
) -> RunSummary:
    tasks = evaluation_tasks(config.evaluation.seed, config.evaluation.episodes)
    played = {name: crew.evaluate(tasks, config.evaluation.temperature, adapter) for name, adapter in adapters.items()}
    return compare(run.path, config, env, played, tasks)


def write_evaluation(run: RunDirectory, summary: RunSummary) -> None:
    """Keep the last evaluation beside the run."""
    run.evaluation_path.write_text(json.dumps(json.loads(json_line(asdict(summary))), indent=2) + "\n")
