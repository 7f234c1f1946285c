"""The one form of every benchmark: a table on the terminal, and with `--json PATH` the same as JSON.

The JSON says with what command, on what hardware and with which versions the numbers were measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "transformers", "llguidance", "outlines", "gymnasium", "ray")


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


def hardware() -> str:
    """Cores and processor in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = models[0] if models else platform.processor()
    return f"{os.cpu_count()} x {name} ({platform.machine()}, {platform.system()})"


def report(measurements: list[Measurement], json_path: Path | None) -> None:
    """Print the table, write the JSON, and exit with 1 if a goal is missed."""
    width = max(len(measurement.name) for measurement in measurements)
    print(f"\n{sys.argv[0]} on {hardware()}")
    for m in measurements:
        verdict = {True: "holds", False: "MISSED", None: ""}[m.holds]
        baseline = "" if m.baseline is None else f"baseline {m.baseline:.4g}"
        print(f"  {m.name:<{width}}  {m.value:>10.4g} {m.unit:<10} {m.goal:<9} {verdict:<7} {baseline}".rstrip())
    if json_path is not None:
        write_json(measurements, json_path)
    sys.exit(1 if any(measurement.holds is False for measurement in measurements) else 0)


def write_json(measurements: list[Measurement], json_path: Path) -> None:
    """Write the measurements, with the command, the hardware and the versions they were made with."""
    record = {
        "command": " ".join(["python", *sys.argv]),
        "hardware": hardware(),
        "load_average": round(os.getloadavg()[0], 1),  # above the number of cores, others were slowing it down
        "versions": {"python": platform.python_version()} | _versions(),
        "measurements": [asdict(measurement) for measurement in measurements],
    }
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(record, indent=2) + "\n")


def _versions() -> dict[str, str]:
    """Of the packages that numbers depend on, as far as they are installed."""
    found: dict[str, str] = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
