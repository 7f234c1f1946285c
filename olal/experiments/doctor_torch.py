"""What torch says about itself, its companions and the GPU, asked in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from olal.experiments.finding import Finding

_COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
_PROBE = """
import importlib, json, sys
import torch
answer = {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": [], "broken": {}}
if torch.cuda.is_available():
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        answer["gpus"].append(f"{device.name} ({device.total_memory / 2**30:.0f} GiB)")
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        answer["broken"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
sys.stdout.write("\\n" + json.dumps(answer))
"""


@dataclass(frozen=True, slots=True)
class TorchProbe:
    """What the process answered.

    Attributes:
        version: of torch; empty where it is not installed or cannot be imported.
        error: why it cannot be imported; empty where it is not installed at all.
        cuda: CUDA version it was built for; None for a CPU build.
        gpus: name and memory of each usable GPU.
        companions: installed packages compiled against torch.
        broken: those of them that cannot be imported, with the error.
    """

    version: str = ""
    error: str = ""
    cuda: str | None = None
    gpus: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)


def probe_torch(timeout_s: float = 120.0) -> TorchProbe:
    """Import torch and its installed companions in another process."""
    if not _is_installed("torch"):
        return TorchProbe()
    companions = tuple(name for name in _COMPANIONS if _is_installed(name))
    command = [sys.executable, "-c", _PROBE, *companions]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return TorchProbe(error=f"import took more than {timeout_s:.0f} s")
    try:
        answer = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        return TorchProbe(error=(done.stderr.strip().splitlines() or ["the interpreter died"])[-1])
    return TorchProbe(answer["version"], "", answer["cuda"], tuple(answer["gpus"]), companions, answer["broken"])


def check_torch(probe: TorchProbe) -> Finding:
    """Whether torch imports."""
    if probe.error:
        return Finding("torch", "cannot be imported", "missing", f"{probe.error}; run `make setup` in a new .venv")
    if not probe.version:
        return Finding("torch", "not installed", "missing", "needed for every model; run `make setup`")
    return Finding("torch", f"{probe.version} ({'CPU build' if probe.cuda is None else f'CUDA {probe.cuda}'})", "ok")


def check_gpu(probe: TorchProbe, *, has_driver: bool) -> Finding:
    """Whether torch can use a GPU, and whether it should."""
    if probe.gpus:
        return Finding("GPU", ", ".join(probe.gpus), "ok")
    if not has_driver:
        return Finding("GPU", "none", "ok", "not needed: everything runs on the CPU")
    if probe.cuda is None:
        return Finding("GPU", "there, but torch is a CPU build", "warn", "run `make setup` in a new .venv")
    return Finding("GPU", "there, but torch cannot use it", "warn", f"the driver must support CUDA {probe.cuda}")


def check_torch_companions(probe: TorchProbe) -> Finding:
    """Whether torchvision and its like import; a build for another torch breaks the import of vLLM."""
    name = "torch companions"
    if probe.broken:
        packages = " ".join(probe.broken)
        error = next(iter(probe.broken.values()))
        advice = f"they break the import of vLLM ({error}); run: pip uninstall -y {packages}"
        return Finding(name, f"broken: {packages}", "warn", advice)
    return Finding(name, ", ".join(probe.companions) or "none installed, none needed", "ok")


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
