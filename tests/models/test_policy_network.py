"""Pinned: continuing cached contexts of any lengths, and reading logits at chosen positions of a padded batch, both
equal a plain full forward of each sequence alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from olal.models.policy_network import PolicyNetwork


@pytest.fixture
def network(tiny_engine: PolicyNetwork, random_flat: Callable[..., np.ndarray]) -> PolicyNetwork:
    tiny_engine.bank.use(torch.from_numpy(random_flat(tiny_engine, seed=11, std=0.1)))
    return tiny_engine


def tokens(length: int, seed: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(2, 400, length).tolist())


@torch.no_grad()
def full(network: PolicyNetwork, sequence: Sequence[int]) -> torch.Tensor:
    """Logits at every position of one sequence, without padding or cache."""
    return network.base.network(input_ids=torch.tensor([sequence])).logits[0]


@pytest.mark.parametrize(
    "shape",
    [
        [(0, 1)],
        [(0, 7)],
        [(5, 1)],
        [(0, 3), (0, 9), (0, 1)],
        [(4, 2), (4, 2)],
        [(1, 6), (12, 1), (0, 3), (7, 7)],
        [(0, 1), (30, 5)],
        [(2 + i % 5, 1 + i % 3) for i in range(17)],
    ],
    ids=str,
)
def test_continuing_cached_contexts_equals_a_full_forward(network: PolicyNetwork, shape: list[tuple[int, int]]) -> None:
    sequences = [tokens(past + new, seed) for seed, (past, new) in enumerate(shape)]
    cuts = [past for past, _ in shape]
    pasts = [
        network.extend([None], [ids[:cut]])[0][0] if cut else None for ids, cut in zip(sequences, cuts, strict=True)
    ]

    grown, logits = network.extend(pasts, [ids[cut:] for ids, cut in zip(sequences, cuts, strict=True)])

    assert logits.dtype == torch.float32
    for row, ids in enumerate(sequences):
        assert grown[row].shape[2] == len(ids)
        assert torch.allclose(logits[row], full(network, ids)[-1], atol=1e-4)


def test_contexts_may_be_continued_again_and_again(network: PolicyNetwork) -> None:
    rows = [tokens(9, 1), tokens(12, 2)]
    pasts = [None, None]

    for start, stop in ((0, 2), (2, 3), (3, 7), (7, 9)):
        pasts, logits = network.extend(pasts, [ids[start:stop] for ids in rows])

    for row, ids in enumerate(rows):
        assert torch.allclose(logits[row], full(network, ids[:9])[-1], atol=1e-4)


def test_logits_at_positions_equal_a_full_forward(network: PolicyNetwork) -> None:
    sequences = [tokens(length, length) for length in (3, 11, 1, 7)]
    rows, columns = torch.tensor([1, 0, 3, 1, 2, 1]), torch.tensor([10, 2, 0, 4, 0, 10])

    logits, hidden = network.at_positions(sequences, rows, columns)

    assert hidden.shape == (6, network.hidden_size)
    for k, (row, column) in enumerate(zip(rows, columns, strict=True)):
        assert torch.allclose(logits[k], full(network, sequences[row])[column], atol=1e-4)


def test_hidden_states_are_those_the_logits_are_made_of(network: PolicyNetwork) -> None:
    logits, hidden = network.at_positions([tokens(5, 3)], torch.tensor([0]), torch.tensor([4]))

    assert torch.allclose(hidden @ network.base.network.get_output_embeddings().weight.T, logits, atol=1e-4)


def test_gradients_at_positions_equal_those_of_a_full_forward(
    tiny_learner: PolicyNetwork, random_flat: Callable[..., np.ndarray]
) -> None:
    flat = torch.tensor(random_flat(tiny_learner, seed=12, std=0.05), requires_grad=True)
    sequences, picks = [tokens(4, 1), tokens(8, 2)], [(0, 3), (1, 7), (1, 2)]
    tiny_learner.bank.use(flat)

    logits, _ = tiny_learner.at_positions(sequences, *torch.tensor(picks).T)
    [ours] = torch.autograd.grad(logits.log_softmax(-1)[:, 5].sum(), flat)
    plain = [tiny_learner.base.network(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    [expected] = torch.autograd.grad(sum(plain[row][column].log_softmax(-1)[5] for row, column in picks), flat)

    assert torch.allclose(ours, expected, atol=1e-4 * float(expected.abs().max()))


def test_the_output_layer_sees_every_position_again_afterwards(network: PolicyNetwork) -> None:
    network.at_positions([tokens(5, 3)], torch.tensor([0]), torch.tensor([4]))
    network.extend([None], [tokens(5, 3)])

    assert full(network, tokens(5, 3)).shape[0] == 5
