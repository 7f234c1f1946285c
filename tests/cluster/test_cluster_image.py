"""One image, built from pinned versions, named alike wherever it is used.

Pinned: hadolint finds nothing; stages gpu and cpu; a numeric user who is not root; paths that are copied exist and are
not ignored; no tag `latest`; one version of Ray and one image across all files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from olal import __version__
from olal.experiments.ray_environment import prepare_ray_environment

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
DOCKERFILE = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = re.findall(
    r"^(FROM|COPY|RUN|USER|ENV|ARG|WORKDIR|ENTRYPOINT|CMD) (.*)$", DOCKERFILE.replace("\\\n", " "), re.MULTILINE
)
YAML_FILES = sorted([*CLUSTER.glob("*.yaml"), *CLUSTER.glob("kuberay/*.yaml")])


def run_tool(name: str, *paths: Path) -> str:
    """Output of a linter that lies beside this Python."""
    command = [str(Path(sys.executable).parent / name), *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def health_checks(text: str) -> dict[str, int]:
    """Ray's health check settings in a file, by name, in milliseconds."""
    return {name: int(value) for name, value in re.findall(r"RAY_health_check_(\w+)=(\d+)", text)}


def test_hadolint_finds_nothing_and_would(tmp_path):
    assert run_tool("hadolint", CLUSTER / "Dockerfile") == ""
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\n")
    assert "DL3006" in run_tool("hadolint", tmp_path / "Dockerfile")


def test_every_stage_stands_on_an_exact_version_or_on_a_stage():
    stages = [words.split(" AS ") for kind, words in INSTRUCTIONS if kind == "FROM"]
    assert [name for _, name in stages] == ["wheel", "base", "cpu", "gpu"]
    for base, _ in stages:
        assert base == "base" or re.fullmatch(r"python:3\.12\.\d+-slim-bookworm", base)


def test_both_targets_install_by_the_constraints_and_end_as_an_ordinary_user():
    for target in DOCKERFILE.split("FROM base AS ")[1:]:
        assert "pip install --constraint constraints.txt " in target
        assert target.rstrip().endswith("USER 1000")
    assert "useradd --create-home --uid 1000 --shell /bin/bash ray" in DOCKERFILE
    assert not [kind for kind, _ in INSTRUCTIONS if kind in ("ENTRYPOINT", "CMD")]


def test_the_gpu_target_installs_an_extra_that_the_package_has():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [extra] = re.findall(r"\)\[(\w+)\]", DOCKERFILE)
    assert re.search(rf"^{extra} = ", pyproject, re.MULTILINE)


def test_what_is_copied_exists_and_reaches_the_build():
    sources = [word for kind, words in INSTRUCTIONS if kind == "COPY" for word in words.split()[:-1] if word[0] != "-"]
    sources = [source for source in sources if source != "/wheels"]
    kept = {line[1:] for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {source for source in sources if not (ROOT / source).exists()} == set()
    assert set(sources) == kept


def test_tokens_are_on_in_the_image_and_home_is_where_ray_looks_for_it():
    [environment] = [words for kind, words in INSTRUCTIONS if kind == "ENV" and "RAY_AUTH_MODE" in words]
    assert {"HOME=/home/ray", "RAY_AUTH_MODE=token"} <= set(environment.split())


def test_a_node_that_does_not_answer_is_dead_within_five_seconds_in_the_image_and_under_slurm():
    assert health_checks(DOCKERFILE) == health_checks((CLUSTER / "slurm.sbatch").read_text(encoding="utf-8"))
    checks = health_checks(DOCKERFILE)
    period, timeout, threshold = (checks[name] for name in ("period_ms", "timeout_ms", "failure_threshold"))
    assert threshold * (period + timeout) < 5000


def test_workers_have_the_priority_of_other_processes_in_the_image_and_under_slurm_and_here(monkeypatch):
    kept = {name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"}
    monkeypatch.setattr(os, "environ", {**kept})
    prepare_ray_environment()
    assert os.environ.items() - kept.items() >= {("RAY_worker_niceness", "0")}
    for text in (DOCKERFILE, (CLUSTER / "slurm.sbatch").read_text(encoding="utf-8")):
        assert re.findall(r"RAY_worker_niceness=(\d+)", text) == ["0"]


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.stem)
def test_every_file_names_the_one_image_of_this_version(path):
    text = path.read_text(encoding="utf-8")
    images = re.findall(r"^\s*(?:- )?image: (\S+)$", text, re.MULTILINE)
    assert set(images) <= {f"registry.example.com/olal:{__version__}-gpu"}
    assert bool(images) == (path.stem != "runs")
    assert f"registry.example.com/olal:{__version__}-gpu" in DOCKERFILE


def test_ray_is_one_version_everywhere(ray_version):
    named = re.findall(r"rayVersion: (\S+)", "".join(path.read_text(encoding="utf-8") for path in YAML_FILES))
    assert set(named) == {ray_version}
    assert len(named) == 2


def test_what_the_heads_install_fits_what_the_image_holds():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
    )
    for path in YAML_FILES:
        for text in re.findall(r"\s([a-z0-9-]+==\S+)", path.read_text(encoding="utf-8")):
            requirement = Requirement(text)
            assert requirement.specifier.contains(pins.get(requirement.name, str(requirement.specifier)[2:]))


def test_shellcheck_finds_nothing_in_the_scripts_and_would(tmp_path):
    assert run_tool("shellcheck", *CLUSTER.glob("*.sh"), *CLUSTER.glob("*.sbatch")) == ""
    (tmp_path / "bad.sh").write_text("#!/bin/sh\necho $1\n")
    assert "SC2086" in run_tool("shellcheck", tmp_path / "bad.sh")
