"""AdapterLayout: where every LoRA matrix lies in the one flat vector that is trained, digested and sent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from olal.errors import AdapterMismatch


@dataclass(frozen=True, slots=True)
class AdapterLayout:
    """Ordered names and shapes of an adapter's tensors.

    Attributes:
        names: PEFT state-dict keys, such as `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`.
        shapes: shape of each tensor, in the same order.
        offsets: start of each tensor in the flat vector.
        num_parameters: length of the flat vector.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...] = field(init=False)
    num_parameters: int = field(init=False)

    def __post_init__(self) -> None:
        sizes = [prod(shape) for shape in self.shapes]
        object.__setattr__(self, "offsets", tuple(int(sum(sizes[:i])) for i in range(len(sizes))))
        object.__setattr__(self, "num_parameters", int(sum(sizes)))

    def split(self, flat: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Named views into `flat`.

        Args:
            flat: float32, shape (num_parameters,).

        Raises:
            AdapterMismatch: the length is another one.
        """
        self.check(flat)
        return {
            name: flat[start : start + prod(shape)].reshape(shape)
            for name, shape, start in zip(self.names, self.shapes, self.offsets, strict=True)
        }

    def join(self, tensors: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """The flat vector of named tensors; the inverse of `split`.

        Raises:
            AdapterMismatch: a tensor is missing, left over, or of another shape.
        """
        if set(tensors) != set(self.names):
            odd = sorted(set(tensors) ^ set(self.names))
            raise AdapterMismatch(f"the adapter's tensors are not those of this model, first difference: {odd[0]}")
        for name, shape in zip(self.names, self.shapes, strict=True):
            if tensors[name].shape != shape:
                raise AdapterMismatch(f"{name} must have shape {shape}: {tensors[name].shape}")
        return np.concatenate([tensors[name].astype(np.float32).reshape(-1) for name in self.names])

    def check(self, flat: NDArray[np.float32]) -> None:
        """Refuse a vector of another size or dtype.

        Raises:
            AdapterMismatch: it cannot belong to this layout.
        """
        if flat.shape != (self.num_parameters,) or flat.dtype != np.float32:
            raise AdapterMismatch(
                f"the adapter must be float32 of shape ({self.num_parameters},): {flat.dtype} of shape {flat.shape}"
            )

    def digest(self, flat: NDArray[np.float32]) -> str:
        """SHA-256 (16 hex digits) of the layout and the values, equal on every machine that holds the same adapter."""
        self.check(flat)
        hasher = hashlib.sha256(json.dumps([self.names, self.shapes]).encode())
        hasher.update(np.ascontiguousarray(flat).view(np.uint8).data)
        return hasher.hexdigest()[:16]
