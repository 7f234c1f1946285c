"""The one form of every benchmark: a table on the terminal, and with `--json PATH` a list of measurements."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number.

    Attributes:
        name: snake_case; says what is measured.
        value: the number.
        unit: such as "s", "ratio" or "score".
        goal: what it should be, such as ">= 0.95"; empty where the number is only told.
        holds: whether it is; None where there is no goal.
        baseline: what it is compared with, measured in the same run; None where there is none.
    """

    name: str
    value: float
    unit: str
    goal: str = ""
    holds: bool | None = None
    baseline: float | None = None


def measure(name: str, value: float, unit: str, goal: str = "", baseline: float | None = None) -> Measurement:
    """A measurement held to its goal, which reads like ">= 0.95", "<= 30" or "< 0.5"."""
    if not goal:
        return Measurement(name, value, unit, baseline=baseline)
    sign, bound = goal.split()
    holds = {">=": value >= float(bound), "<=": value <= float(bound), "<": value < float(bound)}[sign]
    return Measurement(name, value, unit, goal, holds, baseline)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the measurements here")
    return parser


def report(measurements: list[Measurement], json_path: Path | None) -> None:
    """Print the table, write the JSON, and exit with 1 if a goal is missed."""
    width = max(len(measurement.name) for measurement in measurements)
    print(f"\n{sys.argv[0]} on {os.cpu_count()} x {platform.processor() or platform.machine()}")
    for m in measurements:
        verdict = {True: "holds", False: "MISSED", None: ""}[m.holds]
        baseline = "" if m.baseline is None else f"baseline {m.baseline:.4g}"
        print(f"  {m.name:<{width}}  {m.value:>10.4g} {m.unit:<10} {m.goal:<9} {verdict:<7} {baseline}".rstrip())
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps([asdict(measurement) for measurement in measurements], indent=2) + "\n")
    sys.exit(1 if any(measurement.holds is False for measurement in measurements) else 0)
