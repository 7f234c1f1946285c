"""ContextScorer: legal log-probabilities and hidden states of contexts, each distinct context run once.

A context that is a prefix of another one in the same call is read off the longer one's pass: the model is causal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from olal.learners.batch import DecisionBatch
from olal.learners.ranks import Alone, Ranks, share
from olal.models.legal import legal_logprobs, pad_legal
from olal.models.lora_bank import AdapterMembers
from olal.models.policy_network import PolicyNetwork
from olal.models.token_rows import TokenRows

_LOGITS_PER_PASS = 1 << 26


class ContextScorer:
    """Scores the contexts of one batch under whatever adapter the bank holds."""

    def __init__(
        self,
        network: PolicyNetwork,
        batch: DecisionBatch,
        *,
        temperature: float,
        tokens_per_pass: int = 1 << 16,
        ranks: Ranks | None = None,
    ) -> None:
        """Take the contexts and legal sets of `batch`; legal sets are padded pass by pass, never all at once.

        Args:
            network: the policy.
            batch: its contexts are what is scored.
            temperature: that of the rollouts, so that ratios start at one.
            tokens_per_pass: most context tokens, padding included, that `fits` lets into one pass.
            ranks: among which the contexts are shared out wherever all of them are asked for; None for one process.
        """
        self.ranks = ranks or Alone()
        self._network = network
        self._contexts = batch.contexts
        self._legal_sets = batch.legal
        self._temperature = temperature
        self._tokens_per_pass = tokens_per_pass
        self._laid: tuple[bytes, _Laid] | None = None
        self._surveyed: tuple[bytes, tuple[Tensor, Tensor]] | None = None

    def fits(self, contexts: NDArray[np.int64]) -> bool:
        """Whether contexts, int64 of shape (u,), may go into one pass: bounded in tokens and in logits."""
        if len(contexts) == 1:
            return True
        if len(contexts) * self._network.base.vocabulary.size > _LOGITS_PER_PASS:
            return False
        longest = max(len(self._contexts[index]) for index in contexts)
        if len(contexts) * longest <= self._tokens_per_pass:
            return True
        return self._lay_out(contexts).rows.ids.numel() <= self._tokens_per_pass

    def passes(self, contexts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Part contexts, int64 of shape (u,), into runs that fit; halving, so that what fits stays whole."""
        if self.fits(contexts):
            return [contexts]
        half = len(contexts) // 2
        return [*self.passes(contexts[:half]), *self.passes(contexts[half:])]

    def score(self, contexts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Run the model on contexts of the batch under one adapter; differentiable.

        Args:
            contexts: int64, shape (u,): indices into the batch's contexts.

        Returns:
            Legal log-probabilities, shape (u, widest legal set), and hidden states, shape (u, hidden).
        """
        if self._surveyed is not None and torch.is_grad_enabled():
            (key, scores), self._surveyed = self._surveyed, None
            if key == contexts.tobytes():
                return scores
            del scores  # with the graph behind it, before another one is made
        laid = self._lay_out(contexts)
        logits, hidden = self._network.read(laid.rows)
        return legal_logprobs(logits, laid.legal, laid.real, self._temperature), hidden

    @torch.no_grad()
    def distributions(self) -> list[Tensor]:
        """Legal log-probabilities of every context of the batch, each float32 of shape (its legal tokens,)."""
        rows = [torch.zeros(len(legal), device=self._network.device) for legal in self._legal_sets]
        for contexts in self._own_passes():
            legal, _ = self.score(contexts)
            for index, row in zip(contexts, legal, strict=True):
                rows[index] = row[: len(self._legal_sets[index])]
        self.ranks.sum(rows)
        return rows

    def survey(self, batch: DecisionBatch, *, keep: bool = False) -> tuple[NDArray[np.float64], Tensor]:
        """Run all contexts once, before anything is learned.

        Args:
            batch: that of the scorer.
            keep: whether the next differentiable `score`, if of all contexts, is to be under the same adapter; where
                one pass holds them all, it then gets this pass's graph instead of making its own.

        Returns:
            Log-probabilities of the batch's decisions, float64 of shape (N,), to hold against the engine's; and the
            hidden states of its contexts, shape (U, hidden).
        """
        logprobs = np.zeros(len(batch))
        states = torch.zeros(len(batch.contexts), self._network.hidden_size, device=self._network.device)
        passes = self._own_passes()
        for contexts in passes:
            with torch.set_grad_enabled(keep and len(passes) == 1):
                legal, hidden = self.score(contexts)
            if legal.requires_grad:
                self._surveyed = contexts.tobytes(), (legal, hidden)
            states[contexts[0] : contexts[-1] + 1] = hidden.detach()
            rows = np.flatnonzero((batch.context_of >= contexts[0]) & (batch.context_of <= contexts[-1]))
            logprobs[rows] = legal.detach().cpu().numpy()[batch.context_of[rows] - contexts[0], batch.chosen[rows]]
        self.ranks.sum([torch.from_numpy(logprobs), states])
        return logprobs, states

    def score_members(self, contexts: NDArray[np.int64], adapters: AdapterMembers) -> Tensor:
        """Run the contexts under many adapters in one batch.

        Args:
            contexts: int64, shape (u,).
            adapters: the members.

        Returns:
            Legal log-probabilities, shape (members, u, widest legal set).
        """
        members, laid = len(adapters), self._lay_out(contexts)
        self._network.bank.use_members(adapters)
        logits, _ = self._network.read(laid.rows.copies(members))
        legal, real = laid.legal.repeat(members, 1), laid.real.repeat(members, 1)
        return legal_logprobs(logits, legal, real, self._temperature).view(members, len(contexts), -1)

    def _own_passes(self) -> list[NDArray[np.int64]]:
        own = share(self.ranks, len(self._contexts))
        return self.passes(own) if len(own) else []

    def num_sequences(self, contexts: NDArray[np.int64]) -> int:
        """How many sequences as long as the longest hold the tokens of one pass over contexts, int64 of shape (u,)."""
        longest = max(len(self._contexts[index]) for index in contexts)
        return -(-self._lay_out(contexts).rows.ids.numel() // longest)

    def _lay_out(self, contexts: NDArray[np.int64]) -> _Laid:
        """Prepare a pass; the last one is kept for whoever runs the same contexts under another adapter."""
        if self._laid is None or self._laid[0] != contexts.tobytes():
            sequences, rows, columns = pack([self._contexts[index] for index in contexts])
            laid = self._network.lay_out(sequences, torch.tensor(rows), torch.tensor(columns))
            legal = pad_legal([self._legal_sets[index] for index in contexts])
            self._laid = contexts.tobytes(), _Laid(laid, *legal)
        return self._laid[1]


@dataclass(frozen=True, slots=True)
class _Laid:
    """Contexts ready for a pass, with their legal sets from `pad_legal`."""

    rows: TokenRows
    legal: Tensor
    real: Tensor


def pack(contexts: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int], list[int]]:
    """Cover contexts by as few sequences as possible.

    Returns:
        The sequences, and per context the sequence it lies in and the position of its last token.

    >>> pack([(1, 2), (1, 2, 3), (4,)])
    ([(1, 2, 3), (4,)], [0, 0, 1], [1, 2, 0])
    """
    lengths = sorted({len(tokens) for tokens in contexts})
    wanted = set(contexts)
    place: dict[tuple[int, ...], tuple[int, int]] = {}
    sequences: list[tuple[int, ...]] = []
    for tokens in sorted(wanted, key=lambda tokens: (-len(tokens), tokens)):
        if tokens in place:
            continue
        for length in lengths:
            if length <= len(tokens) and tokens[:length] in wanted:
                place.setdefault(tokens[:length], (len(sequences), length - 1))
        sequences.append(tokens)
    return sequences, [place[tokens][0] for tokens in contexts], [place[tokens][1] for tokens in contexts]
