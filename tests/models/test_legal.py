"""Pinned: log-probabilities and entropy over the legal set against float64 by hand; the padding counts for nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from olal.models.legal import legal_entropy, legal_logprobs, pad_legal

LEGAL = [np.array([0, 3, 7]), np.array([2]), np.array([1, 2, 5, 6, 9]), np.arange(10)]


def reference(logits: list[float], legal: list[int], temperature: float) -> list[float]:
    """log pi(a) = l_a - log sum over legal b of exp(l_b), in float64."""
    scaled = [logits[a] / temperature for a in legal]
    peak = max(scaled)
    log_sum = peak + math.log(sum(math.exp(value - peak) for value in scaled))
    return [value - log_sum for value in scaled]


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 2.0])
def test_logprobs_are_those_of_the_legal_tokens_alone(temperature: float, scale: float) -> None:
    logits = scale * torch.randn(len(LEGAL), 10, generator=torch.Generator().manual_seed(0))

    logprobs = legal_logprobs(logits, *pad_legal(LEGAL), temperature)

    for row, legal in enumerate(LEGAL):
        expected = reference(logits[row].tolist(), legal.tolist(), temperature)
        assert logprobs[row, : len(legal)].tolist() == pytest.approx(expected, rel=1e-5, abs=2e-6)
        assert torch.isneginf(logprobs[row, len(legal) :]).all()


def test_the_logits_of_tokens_that_are_not_legal_do_not_matter() -> None:
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))
    changed = logits.clone()
    changed[0, [1, 2, 4, 5, 6, 8, 9]] += 50

    before, after = (legal_logprobs(given, *pad_legal(LEGAL)) for given in (logits, changed))

    assert torch.equal(before[0], after[0])


def test_token_zero_counts_once_although_it_pads() -> None:
    legal = [np.array([0, 1]), np.array([0, 1, 2, 3])]

    logprobs = legal_logprobs(torch.zeros(2, 4), *pad_legal(legal))

    assert logprobs[0, :2].exp().tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
def test_entropy_is_the_sum_over_the_legal_tokens(scale: float) -> None:
    logits = scale * torch.randn(len(LEGAL), 10, generator=torch.Generator().manual_seed(2))

    entropies = legal_entropy(legal_logprobs(logits, *pad_legal(LEGAL)))

    for row, legal in enumerate(LEGAL):
        logprobs = reference(logits[row].tolist(), legal.tolist(), 1.0)
        expected = -sum(math.exp(value) * value for value in logprobs)
        assert entropies[row].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_gradients_are_finite_and_reach_legal_tokens_only() -> None:
    logits = (100 * torch.randn(4, 10, generator=torch.Generator().manual_seed(3))).requires_grad_()

    logprobs = legal_logprobs(logits, *pad_legal(LEGAL))
    (logprobs[:, 0].sum() + legal_entropy(logprobs).sum()).backward()

    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, [1, 2, 4, 5, 6, 8, 9]].tolist() == [0.0] * 7
    assert logits.grad[1].tolist() == [0.0] * 10
