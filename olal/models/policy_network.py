"""PolicyNetwork: a base model with its adapter bank."""

from __future__ import annotations

from olal.models.base_model import BaseModel
from olal.models.causal_network import CausalNetwork
from olal.models.lora_bank import LoraBank


class PolicyNetwork(CausalNetwork):
    """A frozen base model under a replaceable LoRA adapter: what engine and learner both run."""

    def __init__(self, base: BaseModel, bank: LoraBank) -> None:
        """Join a base model and the bank that was injected into it."""
        super().__init__(base)
        self.bank = bank
