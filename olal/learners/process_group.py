"""ProcessGroup: ranks on torch.distributed, gloo between CPUs and NCCL between GPUs.

The groups are objects of this process rather than torch's global one, so nothing else in it is touched, and whoever
drops a group closes its connections: the other ranks then fail at once instead of waiting for their timeout.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.distributed_c10d import PrefixStore

from olal.errors import ProcessLost

COLLECTIVE_TIMEOUT_S = 120.0
"""Longest that one rank waits for another."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where and as whom a process joins the others.

    Attributes:
        host: address of the store at which they meet.
        port: of the store.
        rank: of this process.
        size: how many meet.
        address: at which this process listens for the others; a loopback address where all are on one machine.
    """

    host: str
    port: int
    rank: int
    size: int
    address: str


def open_store(address: str, *, timeout_s: float = COLLECTIVE_TIMEOUT_S) -> Any:
    """The store at which processes meet, on a free port of `address` alone; it lives as long as it is held.

    Returns:
        torch's TCPStore; its `port` is what the others need.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        port = listener.getsockname()[1]
        return TCPStore(
            address,
            port,
            is_master=True,
            timeout=timedelta(seconds=timeout_s),
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )


class ProcessGroup:
    """See `olal.learners.ranks.Ranks` for the contract."""

    def __init__(self, meeting: Meeting, *, timeout_s: float = COLLECTIVE_TIMEOUT_S) -> None:
        """Join, and return when all have.

        Args:
            meeting: where; its store must be open.
            timeout_s: longest wait for another rank, here and in every operation.

        Raises:
            ProcessLost: not all came in time.
        """
        self.rank, self.size = meeting.rank, meeting.size
        self._timeout = timedelta(seconds=timeout_s)
        options = dist.ProcessGroupGloo._Options()  # pyright: ignore[reportAttributeAccessIssue]
        options._timeout = self._timeout
        self._on_gpu: Any = None
        try:
            options._devices = [dist.ProcessGroupGloo.create_device(hostname=meeting.address)]
            self._store = TCPStore(meeting.host, meeting.port, timeout=self._timeout)
            meeting_place = PrefixStore("gloo", self._store)
            self._gloo: Any = dist.ProcessGroupGloo(meeting_place, self.rank, self.size, options)
        except RuntimeError as error:
            raise ProcessLost(
                f"learner process {self.rank} of {self.size} could not meet the others within {timeout_s:g} s: "
                f"{_first_line(error)}"
            ) from error

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """One operation for all tensors of a kind."""
        kinds: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        with torch.no_grad():
            for (device, _), some in kinds.items():
                total = torch.cat([tensor.reshape(-1) for tensor in some])
                self._wait(self._group_for(device).allreduce([total]))
                parts = total.split([tensor.numel() for tensor in some])
                for tensor, part in zip(some, parts, strict=True):
                    tensor.copy_(part.view_as(tensor))

    def gather(self, text: str) -> list[str]:
        """Lengths first, then the texts, padded to the longest."""
        own = torch.tensor(list(text.encode()), dtype=torch.uint8)
        lengths = self._all(torch.tensor([len(own)]))
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(own)] = own
        rows = self._all(padded)
        return [bytes(row[: int(length)].tolist()).decode() for row, length in zip(rows, lengths, strict=True)]

    def close(self) -> None:
        """Leave: the others' operations fail from now on, and so do this process's own."""
        if self._on_gpu is not self._gloo and self._on_gpu is not None:
            self._on_gpu.abort()
        self._gloo = self._on_gpu = None

    def _all(self, tensor: Tensor) -> list[Tensor]:
        rows = [torch.zeros_like(tensor) for _ in range(self.size)]
        self._wait(self._group_for(tensor.device).allgather([rows], [tensor]))
        return rows

    def _wait(self, work: Any) -> None:
        try:
            work.wait()
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception | None = None) -> ProcessLost:
        reason = "it has left them" if error is None else _first_line(error)
        return ProcessLost(f"learner process {self.rank} of {self.size} lost touch with the others: {reason}")

    def _group_for(self, device: torch.device) -> Any:
        if self._gloo is None:
            raise self._lost()
        if device.type != "cuda":
            return self._gloo
        if self._on_gpu is None:
            self._on_gpu = self._gloo
            if self._has_gpus_of_its_own(device) and dist.is_nccl_available():
                self._on_gpu = self._make_nccl()
        return self._on_gpu

    def _has_gpus_of_its_own(self, device: torch.device) -> bool:
        """Whether no two ranks have the same GPU; NCCL would refuse them."""
        uuids = self.gather(str(torch.cuda.get_device_properties(device).uuid))
        return len(set(uuids)) == self.size

    def _make_nccl(self) -> Any:
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # so that a timeout is an error, not the process's end
        options = dist.ProcessGroupNCCL.Options()
        options._timeout = self._timeout
        return dist.ProcessGroupNCCL(PrefixStore("nccl", self._store), self.rank, self.size, options)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
