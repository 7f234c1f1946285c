"""The doctor's checks, each on a machine made up for it."""

from __future__ import annotations

import socket

import pytest

from olal.experiments import doctor
from olal.experiments.doctor import check_memory, check_package, check_python, check_shared_memory, diagnose
from olal.experiments.doctor_ray import check_auth, check_cluster
from olal.experiments.doctor_torch import TorchProbe, check_gpu, check_torch, check_torch_companions


def test_diagnosis_names_everything_once_and_advises_where_it_is_not_well(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "probe_torch", lambda: TorchProbe("2.13.0+cpu"))
    findings = diagnose({}, tmp_path)
    names = [finding.name for finding in findings]
    assert len(names) == len(set(names))
    assert {"Python", "ray", "torch", "GPU", "vLLM", "shared memory", "Ray auth", "Ray cluster"} <= set(names)
    assert all(finding.advice for finding in findings if finding.status != "ok")


def test_old_python_is_missing():
    assert check_python((3, 10, 1)).status == "missing"
    assert check_python((3, 11, 0)).status == "ok"


def test_package_that_is_not_there_says_what_needs_it():
    finding = check_package("no-such-package-at-all", "the moon")
    assert (finding.status, "the moon" in finding.advice) == ("missing", True)
    assert check_package("pydantic", "config").status == "ok"


def test_torch_that_does_not_import_is_missing():
    assert check_torch(TorchProbe()).status == "missing"
    broken = check_torch(TorchProbe(error="ImportError: libc"))
    assert (broken.status, "libc" in broken.advice) == ("missing", True)
    assert check_torch(TorchProbe("2.13.0", cuda="13.0")).value == "2.13.0 (CUDA 13.0)"


@pytest.mark.parametrize(
    ("probe", "has_driver", "status"),
    [
        (TorchProbe("2.13.0+cpu"), False, "ok"),
        (TorchProbe("2.13.0+cpu"), True, "warn"),
        (TorchProbe("2.13.0", cuda="13.0"), True, "warn"),
        (TorchProbe("2.13.0", cuda="13.0", gpus=("H200",)), True, "ok"),
    ],
)
def test_gpu_that_torch_cannot_use_is_a_warning(probe, has_driver, status):
    assert check_gpu(probe, has_driver=has_driver).status == status


def test_broken_companions_of_torch_are_to_be_removed():
    broken = {"torchvision": "RuntimeError: operator torchvision::nms does not exist"}
    finding = check_torch_companions(TorchProbe("2.13.0", companions=("torchvision",), broken=broken))
    assert finding.status == "warn"
    assert "pip uninstall -y torchvision" in finding.advice
    assert check_torch_companions(TorchProbe("2.13.0")).status == "ok"


@pytest.mark.parametrize(
    ("environ", "has_file", "status"),
    [
        ({}, False, "ok"),
        ({}, True, "warn"),
        ({"RAY_AUTH_MODE": "token"}, True, "ok"),
        ({"RAY_AUTH_MODE": "token"}, False, "warn"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}, False, "ok"),
        ({"RAY_AUTH_MODE": "disabled"}, True, "ok"),
    ],
)
def test_token_and_mode_must_agree(tmp_path, environ, has_file, status):
    if has_file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("token")
    assert check_auth(environ, tmp_path).status == status


def test_cluster_address_is_tried():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert check_cluster({"RAY_ADDRESS": address}).status == "ok"
    assert check_cluster({"RAY_ADDRESS": address}).status == "warn"


def test_local_cluster_counts_only_while_it_runs(tmp_path):
    environ = {"RAY_TMPDIR": str(tmp_path)}
    assert check_cluster(environ).value == "none"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert address in check_cluster(environ).value
    assert check_cluster(environ).value == "none"


def test_little_shared_memory_is_a_warning(monkeypatch, tmp_path):
    usage = type("Usage", (), {"free": 2**26, "total": 2**26})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert check_shared_memory(tmp_path).status == "warn"
    assert check_shared_memory(tmp_path / "none").status == "warn"


def test_memory_is_read_from_the_kernel(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n")
    finding = check_memory(meminfo)
    assert (finding.value, finding.status) == ("1.0 of 16.0 GiB free", "warn")
    assert check_memory(tmp_path / "none").status == "ok"
