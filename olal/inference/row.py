"""Row: one completion in the making."""

from __future__ import annotations

from dataclasses import dataclass, field

from olal.errors import GrammarError
from olal.grammar import GrammarState, Vocabulary
from olal.inference.adapter_slots import AdapterSlot
from olal.inference.context_cache import Context
from olal.types import Completion, DraftStatistics, GenerateRequest, StopReason


@dataclass(eq=False, slots=True)
class Row:
    """A request and what has been sampled for it.

    Attributes:
        request_id: the engine's number for it.
        request: what was asked.
        adapter: the adapter it began under and ends under.
        key: of its noise.
        deadline: on the monotonic clock, in seconds; None for none.
        token_ids: the completion so far, the request's prefix included.
        state: the grammar state of the decision to make; None before the first look and after the end.
        near: the longest context of this row that is computed.
        num_decisions: made so far.
    """

    request_id: int
    request: GenerateRequest
    adapter: AdapterSlot
    key: int
    deadline: float | None = None
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[bool] = field(default_factory=list)
    log_legal_mass: list[float] = field(default_factory=list)
    delegated: list[bool] = field(default_factory=list)
    state: GrammarState | None = None
    near: Context | None = None
    num_decisions: int = 0
    num_passes: int = 0
    proposed: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    stop_reason: StopReason | None = None
    error: str = ""

    @property
    def room(self) -> int:
        """Tokens that may still be appended."""
        return self.request.sampling.max_tokens - len(self.token_ids)

    @property
    def tokens(self) -> tuple[int, ...]:
        """Prompt and completion so far."""
        return (*self.request.prompt_token_ids, *self.token_ids)

    def advance(self, vocabulary: Vocabulary) -> None:
        """Append forced tokens, up to the next decision or the end of the row."""
        if self.stop_reason is not None:
            return
        self.state = None
        room = self.room
        try:
            run, state = vocabulary.forced_run(self.request.grammar, self.token_ids, limit=room + 1)
        except GrammarError as error:
            self.fail(error)
            return
        self.force(run[:room])
        if len(run) > room or (not state.is_complete and len(run) == room):
            self.stop_reason = "length"
        elif state.is_complete:
            self.stop_reason = "grammar"
        elif self.num_decisions == self.request.max_decisions:
            self.stop_reason = "paused"
        else:
            self.state = state

    def force(self, tokens: tuple[int, ...]) -> None:
        """Append tokens that had no alternative."""
        for token in tokens:
            self._append(token, 0.0, 0.0, is_forced=True, is_delegated=False)

    def decide(self, token: int, logprob: float, log_legal_mass: float, *, is_delegated: bool = False) -> None:
        """Append a token that was drawn."""
        self._append(token, logprob, log_legal_mass, is_forced=False, is_delegated=is_delegated)
        self.num_decisions += 1

    def count_draft(self, num_proposed: int, num_accepted: int) -> None:
        """Add one draft to the statistics by position."""
        for counts, length in ((self.proposed, num_proposed), (self.accepted, num_accepted)):
            counts.extend([0] * (max(num_proposed, len(self.proposed)) - len(counts)))
            for position in range(length):
                counts[position] += 1

    def fail(self, error: Exception) -> None:
        """Stop with an error."""
        self.stop_reason = "error"
        self.error = (str(error).splitlines() or [type(error).__name__])[0]

    def completion(self, vocabulary: Vocabulary) -> Completion:
        """What the requester gets: everything after its own prefix."""
        ids = self.token_ids[len(self.request.prefix) :]
        spoken = ids[:-1] if ids and ids[-1] == vocabulary.eos_token_id else ids
        return Completion(
            token_ids=tuple(ids),
            text=vocabulary.text(spoken),
            logprobs=tuple(self.logprobs),
            forced=tuple(self.forced),
            log_legal_mass=tuple(self.log_legal_mass),
            adapter_version=self.adapter.version,
            stop_reason=self.stop_reason or "length",
            num_passes=self.num_passes,
            delegated=tuple(self.delegated) if any(self.delegated) else (),
            drafts=DraftStatistics(tuple(self.proposed), tuple(self.accepted)),
            error=self.error,
        )

    def _append(self, token: int, logprob: float, mass: float, *, is_forced: bool, is_delegated: bool) -> None:
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        self.log_legal_mass.append(mass)
        self.forced.append(is_forced)
        self.delegated.append(is_delegated)
