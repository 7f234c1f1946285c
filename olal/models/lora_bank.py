"""LoraBank: PEFT's LoRA layers, reading their matrices from one flat vector or, row by row, from many.

PEFT chooses the target modules, names the tensors and applies the scaling. Only the two small linears of each pair
are ours: their weights are views into a flat vector, so one tensor is what is trained, digested and sent, and a batch
in which every row has an adapter of its own costs one batched matrix product instead of a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from olal.adapters import AdapterLayout
from olal.errors import ModelInvalid

_ADAPTER = "default"
_MERGED_ELEMENTS = 1 << 14


class LoraBank:
    """The adapter slots of one network.

    Filled before a forward pass:

        bank.use(flat)                # shape (num_parameters,): one adapter for the whole batch, differentiable
        bank.use_many(flats, rows)    # shape (members, num_parameters): batch row b runs under flats[rows[b]]
        bank.use_members(members)     # an equal share of the batch each, every matrix made when the pass comes to it
    """

    def __init__(
        self, network: nn.Module, *, rank: int, alpha: float, targets: Literal["all-linear"] | Sequence[str], seed: int
    ) -> None:
        """Inject LoRA layers into `network` in place.

        Args:
            network: a transformers model.
            rank: inner dimension r.
            alpha: the update is scaled by alpha / rank.
            targets: module names as PEFT takes them, or "all-linear".
            seed: of the random A matrices; B starts at zero, so the first adapter changes nothing.

        Raises:
            ModelInvalid: no module has such a name, or one that has is no linear layer below the output layer.
        """
        names = "all-linear" if targets == "all-linear" else list(targets)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, lora_dropout=0.0, task_type="CAUSAL_LM")  # pyright: ignore[reportArgumentType]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                inject_adapter_in_model(config, network)
            except ValueError as error:
                raise ModelInvalid(f"no module to adapt ({str(error).splitlines()[0]}): {names}") from error
        self._halves: list[_BankLinear] = []
        keys: list[str] = []
        values: list[Tensor] = []
        self._rows = _Rows()
        for module_name, module in network.named_modules():
            if not isinstance(module, LoraLayer):
                continue
            if not _is_plain_linear(module) or module is network.get_output_embeddings():  # pyright: ignore[reportCallIssue]
                raise ModelInvalid(
                    f"only linear layers below the output layer can be adapted, not {module_name}: {names}"
                )
            for side, half in (("lora_A", module.lora_A), ("lora_B", module.lora_B)):
                keys.append(f"base_model.model.{module_name}.{side}.weight")
                values.append(half[_ADAPTER].get_parameter("weight").detach().float().cpu())
                slot = _BankLinear(self._rows)
                half[_ADAPTER] = slot
                self._halves.append(slot)
            _shorten(module)
        self.layout = AdapterLayout(tuple(keys), tuple(tuple(value.shape) for value in values))
        self.initial: NDArray[np.float32] = torch.cat([value.reshape(-1) for value in values]).numpy()
        self.peft_config = _plain_config(config, network)
        self._device = next(network.parameters()).device
        self.num_uses = 0  # tells whoever filled the bank whether another has filled it since
        self.use(torch.from_numpy(self.initial.copy()))

    def use(self, flat: Tensor) -> None:
        """Run every row under one adapter; gradients flow into `flat`, shape (num_parameters,)."""
        self._rows.index = None
        self._assign(flat.to(self._device))

    def use_many(self, flats: Tensor, rows: Tensor) -> None:
        """Run batch row b under adapter rows[b].

        Args:
            flats: float32, shape (members, num_parameters).
            rows: int64, shape (batch,), values below members.
        """
        self._rows.index = rows.to(self._device)
        self._assign(flats.to(self._device))

    def use_members(self, members: AdapterMembers) -> None:
        """Run the batch under many adapters, an equal run of rows each; no member is ever held as a whole."""
        self._rows.index = None
        self.num_uses += 1
        layout = self.layout
        for half, shape, start in zip(self._halves, layout.shapes, layout.offsets, strict=True):
            half.make = partial(_read, members, start, shape, self._device)

    def _assign(self, flat: Tensor) -> None:
        layout = self.layout
        self.num_uses += 1
        for half, shape, start in zip(self._halves, layout.shapes, layout.offsets, strict=True):
            stop = start + shape[0] * shape[1]
            half.weight, half.make = flat[..., start:stop].reshape(*flat.shape[:-1], *shape), None


class AdapterMembers(Protocol):
    """Many adapters of one layout that are made while they are read."""

    def __len__(self) -> int:
        """How many."""
        ...

    def block(self, start: int, stop: int) -> NDArray[np.float32]:
        """Elements start..stop-1 of every member, shape (members, stop - start)."""
        ...


def _read(members: AdapterMembers, start: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    block = torch.from_numpy(members.block(start, start + shape[0] * shape[1]))
    return block.to(device).reshape(-1, *shape)


class _Rows:
    """Which adapter each row of the present batch runs under; None: all under one."""

    index: Tensor | None = None


class _BankLinear(nn.Module):
    """Half of a LoRA pair whose weight is a view into the bank; shape (out, in) or (members, out, in)."""

    weight: Tensor
    make: Callable[[], Tensor] | None

    def __init__(self, rows: _Rows) -> None:
        super().__init__()
        self._rows = rows
        self.make = None

    def read(self) -> Tensor:
        """The weight of the whole batch, shape (out, in), or those of equal runs of it, shape (runs, out, in)."""
        if self.make is not None:
            return self.make()
        return self.weight if self._rows.index is None else self.weight[self._rows.index]


def _shorten(module: LoraLayer) -> None:
    """Give a LoRA layer a forward that does what PEFT's does for one plain adapter, and nothing around it.

    y = W x + (B A x) alpha / r. PEFT's own looks for merged, mixed and disabled adapters at every call, which takes
    longer than the matrices of a small model. Where many tokens run under each adapter, y = (W + B A alpha / r) x is
    the shorter way.
    """
    down: Any = module.lora_A[_ADAPTER]
    up: Any = module.lora_B[_ADAPTER]
    scaling = module.scaling[_ADAPTER]
    base: Any = module.get_base_layer()

    def forward(hidden: Tensor) -> Tensor:
        a, b = down.read(), up.read()
        if a.dim() == 2:
            plain = base(hidden)
            low = nn.functional.linear(hidden.float(), a)
            wide = torch.addmm(plain.float().flatten(0, -2), low.flatten(0, -2), b.t(), alpha=scaling)
            return wide.view(plain.shape).to(plain.dtype)
        runs = hidden.reshape(len(a), -1, hidden.shape[-1])
        if _is_shorter_merged(base, a, b, runs):
            weight = torch.baddbmm(base.weight.expand(len(a), -1, -1), b, a, alpha=scaling).transpose(1, 2)
            wide = torch.bmm(runs, weight) if base.bias is None else torch.baddbmm(base.bias, runs, weight)
            return wide.view(*hidden.shape[:-1], -1)
        plain = base(hidden)
        low = torch.bmm(runs.float(), a.transpose(1, 2))
        wide = torch.baddbmm(plain.float().view(len(a), -1, plain.shape[-1]), low, b.transpose(1, 2), alpha=scaling)
        return wide.view(plain.shape).to(plain.dtype)

    module.forward = forward  # pyright: ignore[reportAttributeAccessIssue]


def _is_shorter_merged(base: Any, a: Tensor, b: Tensor, runs: Tensor) -> bool:
    """Whether merging takes fewer products than going through the adapter, and little room.

    It never depends on how many adapters there are, so that each computes the same in whatever company.
    """
    wide, narrow = b.shape[-2], a.shape[-1]
    return (
        type(base) is nn.Linear
        and base.weight.dtype == torch.float32
        and runs.shape[1] * (wide + narrow) > wide * narrow
        and wide * narrow <= _MERGED_ELEMENTS
    )


def _is_plain_linear(module: LoraLayer) -> bool:
    return all(_ADAPTER in half and type(half[_ADAPTER]) is nn.Linear for half in (module.lora_A, module.lora_B))


def _plain_config(config: LoraConfig, network: nn.Module) -> dict[str, Any]:
    """PEFT's own description of the adapter, with JSON values only; its targets choose the same modules again."""
    adapted = [name for name, module in network.named_modules() if isinstance(module, LoraLayer)]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(getattr(getattr(network, "config", None), "_name_or_path", "") or ""),
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "target_modules": _short_names(adapted, network),
        "bias": "none",
        "inference_mode": True,
    }


def _short_names(adapted: Sequence[str], network: nn.Module) -> list[str]:
    """Last parts of module names where all modules so named are adapted, whole names of the others."""
    short = {name.rsplit(".", 1)[-1] for name in adapted}
    partly = {
        part
        for part in short
        for name, _ in network.named_modules()
        if name.endswith("." + part) and name not in adapted
    }
    return sorted((short - partly) | {name for name in adapted if name.rsplit(".", 1)[-1] in partly})
