"""AdapterSlots: the adapters an engine has loaded, by digest, and which of them is current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from olal.errors import AdapterMismatch, ConfigError
from olal.models.lora_bank import LoraBank
from olal.types import AdapterUpdate


@dataclass(frozen=True, slots=True)
class AdapterSlot:
    """One loaded adapter.

    Attributes:
        version: policy version it came with.
        digest: its key.
        flat: float32, shape (num_parameters,).
    """

    version: int
    digest: str
    flat: Tensor


class AdapterSlots:
    """Loaded adapters of one bank; begins with the untrained one as version 0."""

    def __init__(self, bank: LoraBank) -> None:
        """Take the bank whose layout every adapter must have."""
        self._bank = bank
        digest = bank.layout.digest(bank.initial)
        self.current = AdapterSlot(0, digest, torch.from_numpy(bank.initial.copy()))
        self._slots = {digest: self.current}
        self._in_use: AdapterSlot | None = None  # the slot itself: one of the same digest may have been loaded anew
        self._num_uses = -1
        bank.use(self.current.flat)

    def resolve(self, digest: str | None) -> AdapterSlot:
        """The adapter a request names.

        Raises:
            ConfigError: no such adapter is loaded.
        """
        if digest is None:
            return self.current
        if digest not in self._slots:
            raise ConfigError(f"no adapter of this digest is loaded ({', '.join(self._slots)} are): {digest}")
        return self._slots[digest]

    def load(self, update: AdapterUpdate, *, is_current: bool) -> str | None:
        """Add an adapter.

        Returns:
            Digest of the adapter that was current before and is not any more; None where there is none.

        Raises:
            AdapterMismatch: its size or digest is not that of this layout.
        """
        digest = self._bank.layout.digest(update.flat)
        if digest != update.digest:
            raise AdapterMismatch(f"adapter version {update.version} must have digest {update.digest}: {digest}")
        slot = AdapterSlot(update.version, digest, torch.from_numpy(update.flat.copy()))
        self._slots[digest] = slot
        if not is_current:
            self.current = slot if digest == self.current.digest else self.current
            return None
        replaced, self.current = self.current, slot
        return replaced.digest if replaced.digest != digest else None

    def drop(self, digest: str) -> None:
        """Forget an adapter.

        Raises:
            ConfigError: it is the current one.
        """
        if digest == self.current.digest:
            raise ConfigError(f"the current adapter cannot be unloaded; load another first: {digest}")
        self._slots.pop(digest, None)

    def use(self, digests: Sequence[str]) -> None:
        """Let row i of the next model pass run under `digests[i]`."""
        distinct = list(dict.fromkeys(digests))
        if len(distinct) == 1:
            slot = self._slots[distinct[0]]
            if self._in_use is not slot or self._num_uses != self._bank.num_uses:
                self._bank.use(slot.flat)
                self._in_use, self._num_uses = slot, self._bank.num_uses
            return
        place = {digest: index for index, digest in enumerate(distinct)}
        flats = torch.stack([self._slots[digest].flat for digest in distinct])
        self._bank.use_many(flats, torch.tensor([place[digest] for digest in digests]))
