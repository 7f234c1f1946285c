"""Log-probabilities over the legal set: the one formula that engine and learner must share.

log pi(a) = l_a - log sum_{b legal} exp(l_b), with l the logits divided by the temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def pad_legal(legal: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Ragged legal sets as a rectangle.

    Args:
        legal: per decision its sorted legal token ids.

    Returns:
        ids, int64 of shape (decisions, widest), padded with 0; and bool of the same shape, True where real.
    """
    widest = max(len(ids) for ids in legal)
    ids = np.zeros((len(legal), widest), np.int64)
    real = np.zeros((len(legal), widest), bool)
    for row, row_ids in enumerate(legal):
        ids[row, : len(row_ids)] = row_ids
        real[row, : len(row_ids)] = True
    return torch.from_numpy(ids), torch.from_numpy(real)


def legal_logprobs(logits: Tensor, ids: Tensor, real: Tensor, temperature: float = 1.0) -> Tensor:
    """Natural log-probabilities of the legal tokens, renormalised over them.

    Args:
        logits: float32, shape (decisions, vocabulary).
        ids: from `pad_legal`, shape (decisions, widest).
        real: from `pad_legal`.
        temperature: divides the logits; above zero.

    Returns:
        float32, shape (decisions, widest); minus infinity in the padding.
    """
    chosen = torch.gather(logits, 1, ids.to(logits.device)) / temperature
    return torch.log_softmax(chosen.masked_fill(~real.to(logits.device), -torch.inf), dim=1)


def legal_entropy(logprobs: Tensor) -> Tensor:
    """Entropy in nats over the legal set, shape (decisions,), from `legal_logprobs`."""
    return -(logprobs.exp() * logprobs.clamp(min=-1e4)).sum(dim=1)
