"""LengthJudge: was a completion cut, or has its grammar no sentence so short? The two need different words."""

from __future__ import annotations

from collections import OrderedDict

from olal.errors import GrammarError
from olal.grammar import Vocabulary
from olal.grammar.ending import find_ending
from olal.inference.row import Row

_MOST_STATES, _MOST_VERDICTS = 400, 4096


class LengthJudge:
    """Looks at rows that ended at their length; each grammar and length is searched once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Take the tokenizer whose tokens are counted."""
        self._vocabulary = vocabulary
        self._is_impossible: OrderedDict[tuple[str, int], bool] = OrderedDict()

    def judge(self, row: Row) -> None:
        """Fail `row` if nothing it could have said would have fitted."""
        if row.stop_reason != "length":
            return
        grammar, limit = row.request.grammar, row.request.sampling.max_tokens
        key = (grammar.digest, limit)
        if key not in self._is_impossible:
            ending = find_ending(self._vocabulary, grammar, max_tokens=limit, max_states=_MOST_STATES)
            self._is_impossible[key] = ending.verdict == "impossible"
            if len(self._is_impossible) > _MOST_VERDICTS:
                self._is_impossible.popitem(last=False)
        if self._is_impossible[key]:
            reason = f"the grammar has no sentence of at most {limit} tokens; raise max_tokens or mend the grammar"
            row.fail(GrammarError(reason))
