"""A small adapter, without any model."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from olal.adapters import AdapterLayout


@pytest.fixture
def layout() -> AdapterLayout:
    return AdapterLayout(("m.q.lora_A.weight", "m.q.lora_B.weight", "m.v.lora_A.weight"), ((2, 3), (4, 2), (2, 5)))


@pytest.fixture
def flat(layout: AdapterLayout) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(layout.num_parameters).astype(np.float32)
