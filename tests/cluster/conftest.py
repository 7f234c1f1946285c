"""The files of cluster/, read once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
AUTOSCALER_FILES = ("aws", "azure", "gcp", "on-premise")


@pytest.fixture(params=AUTOSCALER_FILES)
def autoscaler_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each file that `ray up` takes."""
    return yaml.safe_load((CLUSTER / f"{request.param}.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def ray_version() -> str:
    """The version that constraints.txt gives Ray."""
    [version] = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    return version
