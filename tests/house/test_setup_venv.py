"""What `make setup` installs.

Pinned: the CPU build of torch exactly where Linux has no NVIDIA GPU; every dependency has one exact version, within the
range that pyproject.toml allows; the fingerprint moves with what is installed.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


@pytest.fixture(scope="module")
def setup_venv() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("setup_venv", ROOT / "tools" / "setup_venv.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    """Version by normalised name, from constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_a_dependency_is_pinned_within_its_range(text, pins):
    requirement = Requirement(text)
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_linux_without_a_gpu_takes_exactly_the_cpu_build(setup_venv, pins):
    assert setup_venv.torch_requirement(has_gpu=False, system="Linux") == f"torch=={pins['torch']}+cpu"


def test_a_gpu_refuses_the_cpu_build(setup_venv, pins):
    requirement = Requirement(setup_venv.torch_requirement(has_gpu=True, system="Linux"))
    assert requirement.specifier.contains(pins["torch"])
    assert not requirement.specifier.contains(f"{pins['torch']}+cpu")


def test_macos_has_one_build(setup_venv, pins):
    assert setup_venv.torch_requirement(has_gpu=False, system="Darwin") == f"torch=={pins['torch']}"


@pytest.mark.parametrize(("script", "expected"), [("echo 'GPU 0: H200'", True), ("exit 9", False)])
def test_a_gpu_is_what_the_driver_lists(script, expected, setup_venv, monkeypatch, tmp_path):
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n{script}\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert setup_venv.has_nvidia_gpu() is expected


def test_the_fingerprint_moves_with_the_build(setup_venv):
    assert setup_venv.fingerprint("torch==1+cpu") == setup_venv.fingerprint("torch==1+cpu")
    assert setup_venv.fingerprint("torch==1+cpu") != setup_venv.fingerprint("torch==1")
