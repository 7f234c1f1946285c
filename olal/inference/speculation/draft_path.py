"""DraftPath: guesses for one row, every one legal under its grammar."""

from __future__ import annotations

from olal.errors import GrammarError
from olal.grammar import GrammarState, Vocabulary
from olal.grammar.json_path import is_decision
from olal.inference.row import Row


class DraftPath:
    """A draft in the making: decisions and the forced tokens that follow from them.

    row so far | ? x x ? x ?        choices are the guesses at the `?`, tokens all of them
                 ^     ^   ^        lengths: where the model's own draw is wanted, before each guess and at the end
    """

    def __init__(self, vocabulary: Vocabulary, row: Row, limit: int) -> None:
        """Begin at the decision that `row` waits for.

        Args:
            vocabulary: the matcher.
            row: not changed.
            limit: most decisions to guess.
        """
        assert row.state is not None
        self.row = row
        self.state: GrammarState = row.state
        self.tokens: list[int] = []
        self.choices: list[int] = []
        self.lengths: list[int] = [len(row.tokens)]
        self._vocabulary = vocabulary
        self._limit = limit
        if row.request.max_decisions is not None:
            self._limit = min(limit, row.request.max_decisions - row.num_decisions - 1)
        self.is_open = self._limit > 0

    @property
    def completion(self) -> tuple[int, ...]:
        """The row's completion with the draft behind it."""
        return (*self.row.token_ids, *self.tokens)

    @property
    def is_at_decision_field(self) -> bool:
        """Whether the next token belongs to a field that the grammar marks as a decision."""
        grammar = self.row.request.grammar
        return bool(grammar.decisions) and is_decision(grammar, self._vocabulary.text(self.completion))

    def push(self, token: int) -> bool:
        """Guess one decision and follow what it forces.

        Returns:
            Whether the guess is legal; an illegal one closes the path.
        """
        if not self.is_open or not (self.state.legal == token).any():
            self.is_open = False
            return False
        grammar, room = self.row.request.grammar, self.row.room
        try:
            run, state = self._vocabulary.forced_run(grammar, (*self.completion, token), limit=room)
        except GrammarError:  # the row itself says so, should it ever come this way
            self.is_open = False
            return False
        self.choices.append(token)
        self.tokens.append(token)
        if state.is_complete or state.is_forced or len(self.completion) + len(run) >= len(self.row.token_ids) + room:
            self.is_open = False  # the sentence ends here, or its length does: nothing is left to decide
            return True
        self.tokens.extend(run)
        self.state = state
        self.lengths.append(len(self.row.request.prompt_token_ids) + len(self.completion))
        self.is_open = len(self.choices) < self._limit
        return True
