"""vLLM's scheduler with olal's drafts, and the proposer that leaves drafting to it.

vLLM asks a proposer before the grammar has moved on and without saying whose tokens these are. The scheduler is told
afterwards and knows the request, so drafts are written there. Only vLLM imports this file, by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from vllm.v1.core.sched.scheduler import Scheduler  # pyright: ignore[reportMissingImports]

from olal.inference.vllm.guidance import CanonicalGuidance
from olal.inference.vllm.seats import Seat, SeatTable


class ForcedProposer:
    """Drafts nothing; a method of vLLM's `custom_class` speculation must exist for drafts to be run at all."""

    def __init__(self, vllm_config: Any) -> None:
        """Take what vLLM hands every proposer."""

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to load."""

    def propose(self, sampled_token_ids: Sequence[Any], *args: Any, **kwargs: Any) -> list[list[int]]:
        """An empty draft per row."""
        return [[] for _ in sampled_token_ids]


class ForcedScheduler(Scheduler):  # type: ignore[misc]
    """Runs what is forced together with the next decision, and guesses behind it."""

    table: SeatTable

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what vLLM hands every scheduler, and let its grammars be olal's canonical texts."""
        super().__init__(*args, **kwargs)
        self.num_preempted = 0
        self.structured_output_manager.backend = CanonicalGuidance.of(self.vllm_config, self.structured_output_manager)
        self.structured_output_manager._use_async_grammar_compilation = False

    def add_request(self, request: Any) -> None:
        """Queue a request whose prompt may hold the beginning of its completion, which its grammar consumes here."""
        prefix = (request.sampling_params.extra_args or {}).get("olal_prefix", [])
        if prefix:
            request.structured_output_request.grammar.accept_tokens(request.request_id, prefix)
        super().add_request(request)

    def _preempt_request(self, *args: Any, **kwargs: Any) -> Any:
        """Throw a request out of the batch for want of blocks, and count that."""
        self.num_preempted += 1
        return super()._preempt_request(*args, **kwargs)

    def update_draft_token_ids(self, draft_token_ids: Any) -> None:
        """Give every request of the last pass its next draft."""
        self.table.plan(draft_token_ids.req_ids)
        for name in draft_token_ids.req_ids:
            request, seat = self.requests.get(name), self.table.seats.get(name)
            if request is None or request.is_finished():
                continue
            room = min(self.num_spec_tokens, self.max_model_len - request.num_tokens - 1)
            request.spec_token_ids = [] if seat is None or request.is_prefill_chunk else seat.draft[: max(room, 0)]

    def get_grammar_bitmask(self, scheduler_output: Any) -> None:
        """Leave the masks of the wanted positions with the rows; the logits stay whole, for the legal mass."""
        for name in scheduler_output.num_scheduled_tokens:
            request, seat = self.requests.get(name), self.table.seats.get(name)
            if request is None or seat is None or request.is_prefill_chunk:
                continue
            self._fill_masks(request, seat, scheduler_output.scheduled_spec_decode_tokens.get(name, []))

    def _fill_masks(self, request: Any, seat: Seat, draft: Sequence[int]) -> None:
        """Walk the grammar along the draft and back, with a look at each position where the row draws."""
        grammar, done = request.structured_output_request.grammar, 0
        positions = seat.wanted(len(draft))
        masks = self.structured_output_manager.backend.allocate_token_bitmask(max(1, len(positions)))
        for index, position in enumerate(positions):
            if position > done and not grammar.accept_tokens(request.request_id, list(draft[done:position])):
                break
            done = position
            grammar.fill_bitmask(masks, index)
            seat.masks[position] = masks[index].numpy().view(np.uint32)
        grammar.rollback(done)
