"""AdapterUpdate: one new policy version on its way from the learner to the rollout workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class AdapterUpdate:
    """A LoRA adapter as one contiguous buffer.

    Attributes:
        version: policy version, counted from 0 (the untrained adapter).
        digest: digest of `flat` under its layout; a worker refuses a buffer that does not match.
        flat: float32 array of shape (num_parameters,), in the order of the adapter layout.
    """

    version: int
    digest: str
    flat: NDArray[np.float32]
