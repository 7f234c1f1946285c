"""Make .venv and install olal into it, once: what `make setup` runs. The standard library is all it needs.

With an NVIDIA GPU pip takes the GPU build of torch; without one exactly the CPU build, which needs no CUDA package.
A stamp in .venv remembers what was installed, so a second call with nothing changed returns at once.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / ".olal-setup"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST, NEWEST = (3, 11), (3, 13)


def main() -> None:
    """Bring .venv up to date."""
    require_python()
    torch = torch_requirement(has_gpu=has_nvidia_gpu(), system=platform.system())
    wanted = fingerprint(torch)
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        return
    started = time.monotonic()
    build = "CPU" if torch.endswith("+cpu") else "default"
    print(f"setup: installing into {VENV.name} ({build} build of torch); this takes a minute or two", flush=True)
    make_venv()
    install(torch)
    STAMP.write_text(wanted)
    print(f"setup: ready after {time.monotonic() - started:.0f} s", flush=True)


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
    pinned = re.search(r"^torch==(\S+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    if pinned is None:
        sys.exit(f"setup: no line torch==VERSION in {CONSTRAINTS}")
    version = pinned.group(1)
    if system != "Linux":
        return f"torch=={version}"
    # pip ranks 2.13.0+cpu above 2.13.0 where it sees both, so a GPU machine has to refuse it
    return f"torch=={version},!={version}+cpu" if has_gpu else f"torch=={version}+cpu"


def fingerprint(torch: str) -> str:
    """Everything that decides what .venv holds, hashed."""
    import tomllib  # here, since a Python older than 3.11 must live to read the message above

    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    parts = [torch, str(ROOT), platform.python_version(), CONSTRAINTS.read_text()]
    parts += [repr(pyproject[table]) for table in ("build-system", "project")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def make_venv() -> None:
    """Create .venv; start afresh where it belongs to another Python."""
    version = [PYTHON, "-c", "import platform; print(platform.python_version())"]
    found = subprocess.run(version, capture_output=True, text=True, check=False).stdout if PYTHON.exists() else ""
    if found.strip() == platform.python_version():
        STAMP.unlink(missing_ok=True)
        return
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        sys.exit(f"setup: cannot make {VENV}; on Debian and Ubuntu install python3-venv.\n{made.stdout}{made.stderr}")


def install(torch: str) -> None:
    """Install olal with its development tools, in one resolution."""
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--constraint", CONSTRAINTS, torch, "--editable", f"{ROOT}[dev]"]
    pip = subprocess.run(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True, check=False)
    # Empty index folders on this disk are no news; everything else pip says is.
    said = [line for line in pip.stderr.splitlines() if not line.startswith("WARNING: Location 'file://")]
    if pip.returncode != 0 and any(line.startswith("ERROR:") and torch in line for line in said):
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
