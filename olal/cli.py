"""The `olal` command: parses, calls `olal.experiments`, prints.

Exit codes: 0 done, 1 the run failed, 2 usage or config, 3 the cluster, 130 interrupted.
What is heavy is imported inside a command, so that `olal --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from olal import __version__
from olal.config import load_config, parse_assignment, to_yaml
from olal.errors import ClusterError, ConfigError, OlalError
from olal.experiments.progress import RunSummary
from olal.experiments.ray_environment import prepare_ray_environment
from olal.metrics import json_line

INTERRUPTED = 130


class ErrorLineGroup(TyperGroup):
    """Turns what goes wrong in a command into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; OLAL_TRACEBACK=1 lets errors through."""
        try:
            return super().invoke(ctx)
        except OlalError as error:
            if os.environ.get("OLAL_TRACEBACK") == "1":
                raise
            cause = getattr(error, "cause", error)  # Ray wraps what an actor raised and appends its traceback
            typer.echo(f"error: {' '.join(str(cause).split())}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name="olal",
    cls=ErrorLineGroup,
    help="Online language-agent learning: train LLM agents while they act.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _examples(*lines: str) -> str:
    """An epilog with one example a line."""
    return "\n\n".join(["[bold]Examples[/bold]", *lines])


AddressOption = Annotated[
    str | None, typer.Option(help="Ray cluster to join, as HOST:PORT or auto; the default starts one here.")
]
EngineOption = Annotated[
    str | None, typer.Option(help="auto, vllm or transformers; auto takes vLLM where it is installed and has a GPU.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]


@app.command(
    epilog=_examples(
        "olal launch configs/gridworld.yaml --workers 2",
        "olal launch --env gymnasium:FrozenLake-v1 --set env.options.is_slippery=false --updates 40",
        "olal launch configs/gridworld.yaml --learner mezo --set learner.sigma=0.02 --dry-run",
    )
)
def launch(
    configs: Annotated[
        list[Path] | None, typer.Argument(metavar="CONFIG", help="YAML files; a later one wins.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-n", help="Rollout workers.")] = None,
    address: AddressOption = None,
    env: Annotated[str | None, typer.Option(help="Environment, such as gridworld or gymnasium:Blackjack-v1.")] = None,
    model: Annotated[str | None, typer.Option(help="Model directory or hub id, or tiny.")] = None,
    learner: Annotated[
        str | None, typer.Option(help="ppo, grpo, rloo, reinforce, rwr, sft, simpo, value, mezo or es.")
    ] = None,
    engine: EngineOption = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where to write; the default is runs/NAME-DATE-TIME.")] = None,
    mode: Annotated[
        str | None, typer.Option(help="sync, bit for bit repeatable, or async, in which nobody waits.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    updates: Annotated[int | None, typer.Option(help="Learner updates.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the whole config and stop.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an agent: rollout workers, a replay buffer and a learner on a Ray cluster.

    Settings come from the defaults, then the files, then the options, then --set.

    Ctrl-C ends the run with a checkpoint; pressed twice, at once.
    """
    flags = {
        "rollout.workers": workers,
        "env.id": env,
        "model.path": model,
        "learner.kind": learner,
        "engine.kind": engine,
        "mode": mode,
        "seed": seed,
        "training.updates": updates,
    }
    config = load_config(configs or [], _overrides(flags, assignments or []))
    if dry_run:
        typer.echo(json_line(config.model_dump(mode="json")) if as_json else to_yaml(config).rstrip())
        return
    from olal.console import open_progress
    from olal.experiments.launch import launch as launch_run

    with open_progress(sys.stdout, as_json=as_json) as progress:
        summary = launch_run(config, run_dir, address, progress)
    _exit_by(summary)


@app.command(epilog=_examples("olal resume runs/gridworld-20260102-030405"))
def resume(
    run: RunArgument,
    workers: Annotated[int | None, typer.Option("--workers", "-n", help="Rollout workers, if not as before.")] = None,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run from its newest complete checkpoint."""
    _require_at_least(1, "--workers", workers)
    from olal.console import open_progress
    from olal.experiments.launch import resume as resume_run

    with open_progress(sys.stdout, as_json=as_json) as progress:
        summary = resume_run(run, address, progress, workers)
    _exit_by(summary)


@app.command(epilog=_examples("olal status runs/gridworld-20260102-030405", "olal status RUN --json"))
def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Say what a run is doing: its version, its workers, and where every episode is.

    The ledger adds up: every episode handed out is trained, dropped with a reason, buffered, or in flight.
    """
    from olal.experiments.run_status import run_status

    found = run_status(run)
    if as_json:
        typer.echo(json_line(asdict(found)))
    else:
        from rich.console import Console

        from olal.console import print_status

        print_status(Console(), found)


@app.command(epilog=_examples("olal scale runs/gridworld-20260102-030405 8"))
def scale(
    run: RunArgument,
    workers: Annotated[int, typer.Argument(metavar="WORKERS", help="Rollout workers from now on.")],
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds to wait until they are there; 0 does not.")] = 60.0,
) -> None:
    """Change the number of rollout workers of a run while it runs.

    Workers that leave finish what they play. In a synchronous run the change comes with the next update.
    """
    _require_at_least(1, "WORKERS", workers)
    from olal.experiments.run_status import scale_run

    ready = scale_run(run, workers, wait_s=wait_s)
    typer.echo(f"{workers} rollout workers asked for, {ready} ready")


@app.command(
    epilog=_examples(
        "olal evaluate runs/gridworld-20260102-030405",
        "olal evaluate runs/gridworld-20260102-030405 --episodes 1000 --json",
    )
)
def evaluate(
    run: RunArgument,
    episodes: Annotated[int | None, typer.Option(help="Episodes of each policy; the default is the run's.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature, 0 for the most likely action; the default is the run's.")
    ] = None,
    engine: EngineOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON object with a field score.")] = False,
) -> None:
    """Measure a run's policy on episodes it was never trained on.

    The score is (return - random) / (optimum - random): 0 is the random policy, 1 the exact optimum.
    """
    _require_at_least(1, "--episodes", episodes)
    _require_at_least(0, "--temperature", temperature)
    from olal.experiments.evaluate import evaluate_run

    kind = None if engine is None else load_config([], {"engine.kind": engine}).engine.kind
    summary = evaluate_run(run, episodes, temperature, kind)
    if as_json:
        from olal.console import evaluation_record

        typer.echo(json_line(evaluation_record(summary)))
    else:
        from olal.console import open_progress

        with open_progress(sys.stdout, as_json=False) as progress:
            progress.finished(summary)
    _exit_by(summary)


@app.command(epilog=_examples("olal replay runs/gridworld-20260102-030405 --version 12 --out adapter-12"))
def replay(
    run: RunArgument,
    version: Annotated[int, typer.Option(help="Which adapter, counted from 0, the untrained one.")],
    out: Annotated[Path, typer.Option(help="A new directory.")],
    as_json: JsonOption = False,
) -> None:
    """Rebuild any past adapter of a forward-only run from its seed log, bit for bit, in PEFT's layout."""
    from olal.experiments.replay import replay_adapter

    replayed = replay_adapter(run, version, out)
    if as_json:
        typer.echo(json_line(asdict(replayed)))
    else:
        typer.echo(
            f"version {replayed.version} of {replayed.last_version}, digest {replayed.digest}, from "
            f"{replayed.num_records} seeds and coefficients; written to {out}"
        )


@app.command(epilog=_examples("olal doctor", "olal doctor configs/gridworld.yaml --address auto --workers 16"))
def doctor(
    configs: Annotated[
        list[Path] | None, typer.Argument(metavar="CONFIG", help="YAML files of the run that --address is asked for.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-n", help="Rollout workers of that run.")] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster to look at too, as HOST:PORT or auto; exit code 3 if it won't do.")
    ] = None,
    run_dir: Annotated[Path, typer.Option(help="Where runs are written.")] = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Say what this machine has, and what is missing for what; with --address, whether a cluster can hold a run."""
    from olal.experiments.doctor import diagnose

    config = load_config(configs or [], _overrides({"rollout.workers": workers}, []))
    findings = diagnose()
    is_fit = True
    if address is not None:
        from olal.experiments.doctor_cluster import diagnose_cluster

        of_cluster = diagnose_cluster(config, address, run_dir)
        is_fit = all(finding.status != "missing" for finding in of_cluster)
        findings += of_cluster
    if as_json:
        typer.echo(json_line({"findings": [asdict(finding) for finding in findings]}))
    else:
        from rich.console import Console

        from olal.console import findings_table

        Console().print(findings_table(findings))
    if not is_fit:
        raise typer.Exit(ClusterError.exit_code)


@app.command("tiny-base", epilog=_examples("olal tiny-base models/tiny"))
def tiny_base(directory: Annotated[Path, typer.Argument(help="A new directory.")]) -> None:
    """Build the tiny base model again, from random play of the built-in tasks; takes about a minute."""
    from olal.console import step_bar
    from olal.experiments.tiny_base import make_tiny_base

    with step_bar("training") as on_step:
        seconds = make_tiny_base(directory, on_step=on_step)
    typer.echo(f"trained for {seconds:.0f} s; use it with: olal launch --model {directory}")


@app.command()
def version() -> None:
    """Print the version of olal."""
    typer.echo(f"olal {__version__}")


def main() -> None:
    """Run the command line of this process; the user's own environments are found in the current directory."""
    sys.path.insert(0, "")
    prepare_ray_environment()
    app()


def _overrides(flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    given = {key: value for key, value in flags.items() if value is not None}
    return given | dict(parse_assignment(text) for text in assignments)


def _require_at_least(bound: int, option: str, value: float | None) -> None:
    if value is not None and not value >= bound:
        raise ConfigError(f"{option} must be at least {bound}; got {value}")


def _exit_by(summary: RunSummary) -> None:
    if summary.status == "interrupted":
        raise typer.Exit(INTERRUPTED)
