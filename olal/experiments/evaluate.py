"""evaluate: measure the newest checkpoint of a run in this process, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from olal.adapters import read_checkpoint
from olal.agents import PromptAgent
from olal.errors import RunDirectoryInvalid
from olal.experiments.build import build_engine, build_env
from olal.experiments.comparison import compare
from olal.experiments.launch import write_evaluation
from olal.experiments.preflight import check_config
from olal.experiments.progress import RunSummary
from olal.experiments.run_directory import RunDirectory
from olal.experiments.seeds import evaluation_tasks
from olal.rollout import Collector, EpisodeOutcome, outcome_of
from olal.types import AdapterUpdate, SamplingParams


def evaluate_run(
    run_dir: Path,
    episodes: int | None = None,
    temperature: float | None = None,
    engine_kind: Literal["auto", "vllm", "transformers"] | None = None,
) -> RunSummary:
    """Play held-out episodes with the newest checkpoint and with the untrained adapter.

    Args:
        run_dir: of the run.
        episodes: how many; None takes the run's own setting.
        temperature: of the sampling, 0 for the most likely action; None takes the run's own setting.
        engine_kind: which engine plays; None takes the run's own setting.

    Raises:
        ConfigError: the engine is not installed.
        RunDirectoryInvalid: it is no run, or has no complete checkpoint.
    """
    run = RunDirectory.open(run_dir)
    config = run.read_config()
    if engine_kind is not None:
        config = config.model_copy(update={"engine": config.engine.model_copy(update={"kind": engine_kind})})
    path = run.newest_checkpoint()
    if path is None:
        raise RunDirectoryInvalid(f"the run has no complete checkpoint to evaluate; let it train further: {run_dir}")
    env = check_config(config)
    tasks = evaluation_tasks(config.evaluation.seed, episodes or config.evaluation.episodes)
    sampling = SamplingParams(
        config.evaluation.temperature if temperature is None else temperature, config.rollout.max_tokens
    )
    engine, network = build_engine(config)
    bank = network.bank
    layout = bank.layout
    checkpoint = read_checkpoint(path, layout)
    collector = Collector(lambda: build_env(config), lambda env: PromptAgent(env.instructions), engine)

    def play(version: int, flat) -> list[EpisodeOutcome]:
        collector.load_adapter(AdapterUpdate(version, layout.digest(flat), flat))
        return [outcome_of(trajectory) for trajectory in collector.collect(tasks, sampling)]

    played = {"final": play(checkpoint.version, checkpoint.flat), "starting": play(0, bank.initial)}
    collector.close()
    summary = compare(run_dir, config, env, played, tasks)
    env.close()
    write_evaluation(run, summary)
    return summary
