"""Rows in vLLM's batch, without vLLM: a stand-in for it runs drafts on random logits, as far as it pleases.

Pinned: however much of a draft is run, the completion is the same; where the two matchers differ, the row fails and
says so; a row that is still being read draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from olal.grammar import Vocabulary, regex_grammar
from olal.inference.adapter_slots import AdapterSlot
from olal.inference.row import Row
from olal.inference.sampler import noise_key
from olal.inference.speculation import DraftPath
from olal.inference.vllm.seats import SeatTable
from olal.types import GenerateRequest, SamplingParams

GRAMMAR = regex_grammar(r'\{"moves":\["(left|right|forward)"(,"(left|right|forward)"){0,3}\]\}')
PROMPT = (5, 6, 7)


class LikelyDrafter:
    """Guesses the first or the last legal token, in turns."""

    def propose(self, paths: Sequence[DraftPath]) -> None:
        for path in paths:
            while path.is_open:
                path.push(int(path.state.legal[0 if len(path.tokens) % 2 else -1]))

    def observe(self, tokens: tuple[int, ...]) -> None: ...


def logits_after(tokens: Sequence[int], size: int) -> torch.Tensor:
    """What the stand-in's model says: a function of the tokens so far."""
    return torch.tensor(np.random.default_rng(abs(hash(tuple(tokens)))).standard_normal(size).astype(np.float32))


def masks_of(vocabulary: Vocabulary, row: Row, tokens: Sequence[int]) -> np.ndarray:
    bits = np.zeros(-(-vocabulary.size // 32) * 32, np.uint8)
    bits[vocabulary.state(row.request.grammar, tokens).legal] = 1
    return np.packbits(bits, bitorder="little").view(np.uint32)


def new_row(seed: int) -> Row:
    request = GenerateRequest(PROMPT, GRAMMAR, SamplingParams(1.0, 40), seed)
    return Row(0, request, AdapterSlot(3, "digest", torch.zeros(1)), noise_key(seed))


def play(vocabulary: Vocabulary, seed: int, drafter: LikelyDrafter | None, cut: Callable[[int], int]) -> Row:
    """Let the stand-in run one row to its end, each draft as far as `cut` of its length allows."""
    table = SeatTable(vocabulary, drafter, num_choices=4, num_tokens=32)
    table.meter.wants_drafts = lambda num_rows: True
    row = new_row(seed)
    row.advance(vocabulary)
    table.sit("a", row)
    known = [*PROMPT, *row.token_ids]
    while row.stop_reason is None:
        seat = table.seats["a"]
        draft = seat.draft[: cut(len(seat.draft))]
        for position in seat.wanted(len(draft)):
            seat.masks[position] = masks_of(vocabulary, row, [*known, *draft[:position]][len(PROMPT) :])
        logits = torch.stack([logits_after([*known, *draft[:n]], vocabulary.size) for n in range(len(draft) + 1)])
        [tokens] = table.sample(["a"], {"a": draft}, [False], logits)
        known += tokens
        table.plan(["a"])
    return row


@pytest.mark.parametrize("cut", [lambda n: n, lambda n: n // 2, lambda n: min(n, 1), lambda n: 0], ids=range(4))
@pytest.mark.parametrize("drafter", [None, LikelyDrafter()], ids=["forced", "drafted"])
def test_however_far_a_draft_is_run_the_completion_is_the_same(vocabulary, cut, drafter):
    for seed in range(12):
        whole, ours = play(vocabulary, seed, None, lambda n: n), play(vocabulary, seed, drafter, cut)

        assert (ours.token_ids, ours.forced, ours.stop_reason) == (whole.token_ids, whole.forced, "grammar")
        assert ours.logprobs == pytest.approx(whole.logprobs)


def test_a_forced_run_behind_a_decision_shares_the_pass_of_the_next(vocabulary):
    for seed in range(12):
        row = play(vocabulary, seed, None, lambda n: n)
        assert row.num_passes == row.num_decisions == len(row.forced) - sum(row.forced)


def test_drafts_that_are_right_save_passes(vocabulary):
    rows = [play(vocabulary, seed, LikelyDrafter(), lambda n: n) for seed in range(40)]

    assert sum(row.num_passes for row in rows) < sum(row.num_decisions for row in rows)
    assert sum(sum(row.accepted) for row in rows) > 0


@pytest.mark.parametrize("change", [1, 1 << 7], ids=["one more", "another"])
def test_a_row_fails_where_the_two_matchers_differ(vocabulary, change):
    table, row = SeatTable(vocabulary, None, num_choices=4, num_tokens=32), new_row(1)
    row.advance(vocabulary)
    table.sit("a", row)
    mask = masks_of(vocabulary, row, row.token_ids)
    mask[0] ^= change
    table.seats["a"].masks[0] = mask

    table.sample(["a"], {}, [False], torch.zeros(1, vocabulary.size))

    assert row.stop_reason == "error"
    assert "allow different tokens" in row.error


def test_a_row_that_is_still_being_read_draws_nothing(vocabulary):
    table, row = SeatTable(vocabulary, None, num_choices=4, num_tokens=32), new_row(1)
    row.advance(vocabulary)
    table.sit("a", row)

    table.sample(["a"], {}, [True], torch.zeros(1, vocabulary.size))

    assert (row.num_decisions, row.num_passes, row.stop_reason) == (0, 1, None)
