"""SeatTable: olal's rows in vLLM's batch, and what is sampled for them. Knows nothing of vLLM.

vLLM holds a request's tokens up to the last one it was told of. Forced tokens behind it are already part of the row;
they go to vLLM as the beginning of a draft, so that the pass of the next decision computes them too:

    vLLM holds     prompt  {"moves":["   left
    the row        prompt  {"moves":["   left   ","   ?
    the draft                                   ","   right  "]}           forced, then guessed, then forced by that
    wanted logits                                   ^      (^ where the sentence goes on)

A draft token stays while it is what the row itself draws. The noise of a draw belongs to the request, so a drafted
completion is the completion that would have been sampled without drafts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from olal.errors import GrammarError
from olal.grammar import Vocabulary
from olal.inference.row import Row
from olal.inference.sampler import draw, legal_distribution
from olal.inference.speculation import Drafter, DraftPath, SpeculationMeter


@dataclass(eq=False, slots=True)
class Seat:
    """A row in vLLM's batch.

    Attributes:
        row: the completion in the making.
        num_known: tokens that vLLM holds, prompt included.
        draft: tokens behind those, to be run in the next pass.
        lengths: lengths of the sequences after which the row's next draws are made, ascending.
        choices: what is guessed at those draws; the last guess may end the sentence and is then no part of the draft.
        masks: by draft position, the legal set as vLLM's own matcher has it: one bit per token.
    """

    row: Row
    num_known: int
    draft: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    masks: dict[int, NDArray[np.uint32]] = field(default_factory=dict)

    @property
    def pending(self) -> list[int]:
        """Tokens of the row that vLLM does not hold yet."""
        return self.row.token_ids[self.num_known - len(self.row.request.prompt_token_ids) :]

    def wanted(self, num_drafted: int) -> list[int]:
        """Draft positions, 0 for the one behind the tokens that vLLM holds, where the row makes a draw of its own."""
        return [length - self.num_known for length in self.lengths if length - self.num_known <= num_drafted]


class SeatTable:
    """Everything that scheduler and model runner need to know of the rows, by vLLM's request id."""

    def __init__(self, vocabulary: Vocabulary, drafter: Drafter | None, *, num_choices: int, num_tokens: int) -> None:
        """Begin without rows.

        Args:
            vocabulary: the matcher that the learner has too.
            drafter: guesses ahead; None for forced tokens alone.
            num_choices: most decisions guessed at a time.
            num_tokens: most tokens of a draft, forced ones included.
        """
        self.seats: dict[str, Seat] = {}
        self.num_decisions = 0
        self.has_drafts = False
        self.meter = SpeculationMeter()
        self._vocabulary = vocabulary
        self.drafter = drafter
        self._num_choices = num_choices
        self._num_tokens = num_tokens

    def sit(self, name: str, row: Row) -> None:
        """Add a row that waits for a decision, with all of its tokens as vLLM's prompt."""
        length = len(row.request.prompt_token_ids) + len(row.token_ids)
        self.seats[name] = Seat(row, length, lengths=[length])

    def plan(self, names: Sequence[str]) -> None:
        """Write the next drafts of these rows: what is forced, and guesses behind it."""
        seats = [self.seats[name] for name in names if name in self.seats]
        waiting = [seat for seat in seats if seat.row.state is not None]
        self.has_drafts = self.drafter is not None and self.meter.wants_drafts(len(waiting))
        limit = self._num_choices if self.has_drafts else 0
        paths = [DraftPath(self._vocabulary, seat.row, limit) for seat in waiting]
        if self.has_drafts and self.drafter is not None:
            self.drafter.propose(paths)
        for seat, path in zip(waiting, paths, strict=True):
            seat.lengths, seat.choices = path.lengths, path.choices
            most = min(path.lengths[-1] - seat.num_known, self._num_tokens)
            seat.draft = [*seat.pending, *path.tokens][:most]

    def sample(
        self, names: Sequence[str], drafts: Mapping[str, Sequence[int]], skipped: Sequence[bool], logits: Any
    ) -> list[list[int]]:
        """Draw for every row of a pass.

        Args:
            names: rows in the order of the pass.
            drafts: the draft tokens that were run, which may be fewer than planned.
            skipped: whether the row's prompt is not computed to its end yet.
            logits: float tensor of shape (sum over rows of 1 + drafted tokens, vocabulary).

        Returns:
            Per row the tokens that are now certain; a placeholder where the row was skipped or has stopped.
        """
        wanted, start = {}, 0
        for name, is_skipped in zip(names, skipped, strict=True):
            num_drafted = len(drafts.get(name, ()))
            if name in self.seats and not is_skipped:
                for position in self.seats[name].wanted(num_drafted):
                    wanted[name, position] = start + position
            start += 1 + num_drafted
        values = logits[list(wanted.values())].float().cpu().numpy() if wanted else np.empty((0, 0), np.float32)
        rows = {key: values[index] for index, key in enumerate(wanted)}
        answers: list[list[int]] = []
        for name, is_skipped in zip(names, skipped, strict=True):
            seat = self.seats.get(name)
            if seat is not None:
                seat.row.num_passes += 1
            known = {} if seat is None else {p: rows[name, p] for p in range(1 + len(seat.draft)) if (name, p) in rows}
            answers.append([0] if seat is None or is_skipped else self._follow(seat, drafts.get(name, ()), known))
        return answers

    def _follow(self, seat: Seat, draft: Sequence[int], logits: Mapping[int, NDArray[np.float32]]) -> list[int]:
        """Go along the draft while it is what the row has or draws, and one token further."""
        row, tokens, guesses = seat.row, [], iter(seat.choices)
        first, num_accepted = seat.num_known - len(row.request.prompt_token_ids), 0
        while True:
            position = len(tokens)
            if first + position == len(row.token_ids):
                if row.stop_reason is not None:
                    break
                self._decide(seat, position, logits)
                if row.stop_reason == "error":
                    break
                num_accepted += row.token_ids[first + position] == next(guesses, None)
            tokens.append(row.token_ids[first + position])
            if position == len(draft) or draft[position] != tokens[-1]:
                break
        row.count_draft(min(len(seat.wanted(len(draft))), len(seat.choices)), num_accepted)
        seat.num_known += len(tokens)
        seat.draft, seat.lengths, seat.choices, seat.masks = [], [], [], {}
        return tokens or [self._vocabulary.eos_token_id]

    def _decide(self, seat: Seat, position: int, logits: Mapping[int, NDArray[np.float32]]) -> None:
        """Draw one token from the legal distribution, and follow what it forces."""
        row, mask = seat.row, seat.masks.get(position)
        assert row.state is not None
        if mask is None or not _is_same_set(mask, row.state.legal):
            row.fail(GrammarError("vLLM's matcher and olal's allow different tokens here"))
            return
        distribution = legal_distribution(logits[position], row.state.legal, row.request.sampling)
        token, logprob = draw(distribution, row.key, len(row.token_ids))
        row.decide(token, logprob, distribution.log_legal_mass)
        self.num_decisions += 1
        row.advance(self._vocabulary)


def _is_same_set(mask: NDArray[np.uint32], legal: NDArray[np.int64]) -> bool:
    """Whether the bits of `mask` are exactly the ids in `legal`."""
    return int(np.bitwise_count(mask).sum()) == len(legal) and bool(((mask[legal >> 5] >> (legal & 31)) & 1).all())
