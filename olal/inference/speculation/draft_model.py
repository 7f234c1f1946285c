"""DraftModelDrafter: a small model guesses what the large one will say.

It draws with the noise of the row it drafts for, under the same grammar and sampling, so that its draw is the large
model's own wherever the two distributions are close.
"""

from __future__ import annotations

from collections.abc import Sequence

from olal.errors import ConfigError
from olal.inference.contexts import ContextQuery, ContextRunner
from olal.inference.sampler import draw, legal_distribution
from olal.inference.speculation.draft_path import DraftPath
from olal.models.base_model import BaseModel
from olal.models.causal_network import CausalNetwork

_ADAPTER = ""


class DraftModel:
    """A small model without an adapter, and its contexts."""

    def __init__(self, network: CausalNetwork, target: BaseModel, *, cache_bytes: int, width: int) -> None:
        """Hold the draft against the model it drafts for.

        Args:
            network: the small model.
            target: the large one.
            cache_bytes: memory for its contexts.
            width: most rows in one pass.

        Raises:
            ConfigError: its vocabulary is another one.
        """
        base = network.base
        is_same = base.tokenizer.get_vocab() == target.tokenizer.get_vocab()
        if not is_same or base.vocabulary.eos_token_id != target.vocabulary.eos_token_id:
            raise ConfigError(
                "a draft model must have the tokenizer and vocabulary of the model it drafts for; "
                f"choose one of the same family: {base.path}"
            )
        self.runner = ContextRunner(network, lambda _: None, cache_bytes=cache_bytes, width=width)

    @property
    def num_passes(self) -> int:
        """Passes of the small model."""
        return self.runner.num_passes

    def query(self, tokens: tuple[int, ...]) -> ContextQuery:
        """A query for the context after `tokens`."""
        return ContextQuery(_ADAPTER, tokens, (len(tokens),))


class DraftModelDrafter:
    """Drafts token by token with a small model."""

    def __init__(self, model: DraftModel, *, only_structure: bool = False) -> None:
        """Draft with `model`.

        Args:
            model: the small model.
            only_structure: leave out the fields that a grammar marks as decisions, where the large model knows better.
        """
        self._model = model
        self._only_structure = only_structure

    def propose(self, paths: Sequence[DraftPath]) -> None:
        """Let the small model write until its drafts are full."""
        while waiting := [path for path in paths if path.is_open and not self._leaves(path)]:
            queries = [self._model.query((*path.row.tokens, *path.tokens)) for path in waiting]
            for path, [context] in zip(waiting, self._model.runner.run(queries), strict=True):
                distribution = legal_distribution(context.logits, path.state.legal, path.row.request.sampling)
                token, _ = draw(distribution, path.row.key, len(path.completion))
                path.push(token)

    def observe(self, tokens: tuple[int, ...]) -> None:
        """Nothing is learned from finished texts."""

    def _leaves(self, path: DraftPath) -> bool:
        """Whether the next token is the large model's own."""
        return self._only_structure and path.is_at_decision_field
