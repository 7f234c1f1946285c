"""probe_logprob: the learner's side of a proof of delivery."""

from __future__ import annotations

import torch

from olal.adapters import probe_tokens
from olal.models.policy_network import PolicyNetwork
from olal.types import AdapterUpdate


@torch.inference_mode()
def probe_logprob(network: PolicyNetwork, update: AdapterUpdate) -> float:
    """Mean log-probability of the probe's scored tokens under an adapter, by one plain pass over the whole text.

    Args:
        network: base model and bank; the bank is left with this adapter.
        update: the adapter.
    """
    prompt, scored = probe_tokens(network.base.vocabulary.size)
    network.bank.use(torch.from_numpy(update.flat))
    columns = torch.arange(len(prompt) - 1, len(prompt) + len(scored) - 1)
    logits, _ = network.at_positions([prompt + scored], torch.zeros_like(columns), columns)
    chosen = logits.log_softmax(dim=1).cpu()[torch.arange(len(scored)), torch.tensor(scored)]
    return float(chosen.mean())
