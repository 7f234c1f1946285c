"""launch and resume: a config in, a trained adapter and a comparison out."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from olal.actors import LearnerReport, RayMeter
from olal.config import RunConfig
from olal.envs import Environment
from olal.errors import RunDirectoryInvalid
from olal.experiments.cluster import await_capacity, connected, plan_placement
from olal.experiments.cluster_checks import require_object_store, require_sound_nodes
from olal.experiments.comparison import compare
from olal.experiments.crew import Crew
from olal.experiments.interrupt import listening
from olal.experiments.preflight import check_config
from olal.experiments.progress import Progress, RunInfo, RunSummary
from olal.experiments.run_directory import RunDirectory
from olal.experiments.run_metrics import RunMetrics
from olal.experiments.seeds import evaluation_tasks
from olal.experiments.training import Training
from olal.metrics import json_line, read_jsonl


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
        return _run(config, env, run, None, address, progress)
    except BaseException:
        if not run.has_begun():
            run.discard()
        raise


def resume(run_dir: Path, address: str | None, progress: Progress, workers: int | None = None) -> RunSummary:
    """Go on from the newest complete checkpoint of a run.

    Args:
        run_dir: of the run.
        address: as in `launch`.
        progress: as in `launch`.
        workers: another number of rollout workers than before.

    Raises:
        RunDirectoryInvalid: it is no run, or has no complete checkpoint yet.
    """
    run = RunDirectory.open(run_dir)
    config = run.read_config()
    if workers is not None:
        config = config.model_copy(update={"rollout": config.rollout.model_copy(update={"workers": workers})})
    checkpoint = run.newest_checkpoint()
    if checkpoint is None:
        raise RunDirectoryInvalid(f"the run has no complete checkpoint to go on from; launch it anew: {run_dir}")
    return _run(config, check_config(config), run, checkpoint, address, progress)


def _run(
    config: RunConfig,
    env: Environment,
    run: RunDirectory,
    checkpoint: Path | None,
    address: str | None,
    progress: Progress,
) -> RunSummary:
    born = time.monotonic()
    with listening(lambda: progress.status("stopping after this update; Ctrl-C again stops at once")) as interrupt:
        progress.status("starting Ray" if address is None else f"connecting to {address}")
        with connected(config, address) as dashboard_url:
            placement = plan_placement(config)
            await_capacity(config, placement)
            require_sound_nodes(placement, run.path)
            progress.status("loading models")
            crew = Crew(config, placement, run.path.name, run.path.absolute(), run.seed_log_path.absolute())
            progress.started(RunInfo(run.path, dashboard_url, config.rollout.workers, config.num_updates))
            starting = crew.current()
            require_object_store(starting.published_bytes)
            measured = RunMetrics(RayMeter(), run.path.name, config.env.id)
            training = Training(config, crew, run, progress, interrupt, measured)
            if checkpoint is not None:
                training.restore(checkpoint)
                _forget_later_metrics(run, int(checkpoint.name.removeprefix("step-")))
            started = time.monotonic()
            final = training.run()
            first = training.first_update_at
            timings = {"training_s": time.monotonic() - started, "first_update_s": first and first - born}
            if interrupt.is_requested:
                summary = RunSummary(run.path, (), None, None, status="interrupted", **timings)
            else:
                progress.status("evaluating")
                summary = replace(_evaluate(config, crew, env, run, starting, final), **timings)
                write_evaluation(run, summary)
    env.close()
    progress.finished(summary)
    return summary


def _evaluate(
    config: RunConfig, crew: Crew, env: Environment, run: RunDirectory, starting: LearnerReport, final: LearnerReport
) -> RunSummary:
    tasks = evaluation_tasks(config.evaluation.seed, config.evaluation.episodes)
    played = {
        name: crew.evaluate(tasks, config.evaluation.temperature, report.adapter)
        for name, report in (("final", final), ("starting", starting))
    }
    return compare(run.path, config, env, played, tasks)


def write_evaluation(run: RunDirectory, summary: RunSummary) -> None:
    """Keep the last evaluation beside the run."""
    run.evaluation_path.write_text(json.dumps(json.loads(json_line(asdict(summary))), indent=2) + "\n")


def _forget_later_metrics(run: RunDirectory, version: int) -> None:
    """Drop the lines of updates that the checkpoint does not contain; they will be made again."""
    kept = [row for row in read_jsonl(run.metrics_path) if row["version"] <= version]
    run.metrics_path.write_text("".join(json_line(row) + "\n" for row in kept))
