"""CausalNetwork: a base model and the two forward passes everything else is built from.

`extend` continues cached contexts (the engine), `at_positions` reads logits where decisions were made (the learner).
Both run the same modules, which is why their probabilities agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from olal.models.base_model import BaseModel
from olal.models.kv_room import kv_of, kv_room

# Seconds as fitted on CPU cores, of which only the ratios count.
_PASS_S, _TOKEN_S, _WEIGHT_S = 1.5e-3, 3e-6, 1.6e-11
_GPU_PASS_TOKENS = 2048


class CausalNetwork:
    """A causal language model as it was loaded."""

    def __init__(self, base: BaseModel) -> None:
        """Take a base model."""
        self.base = base
        self.device = base.device
        self._network: Any = base.network

    @property
    def hidden_size(self) -> int:
        """Width of the last hidden state."""
        return int(self._network.get_output_embeddings().weight.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return next(self._network.parameters()).dtype

    @cached_property
    def pass_cost_tokens(self) -> int:
        """How many tokens one more model pass is worth, for whoever may split or share passes.

        A model of the shape alone, not measured, so that the same run makes the same passes: layers cost Python and
        kernel launches per pass, and on a CPU a fixed and a weight-bound time per token.
        """
        layers = int(getattr(self._network.config, "num_hidden_layers", 1))
        weights = sum(parameter.numel() for parameter in self._network.parameters())
        if self.device.type != "cpu":
            return _GPU_PASS_TOKENS
        return max(1, round(_PASS_S * layers / (_TOKEN_S * layers + _WEIGHT_S * weights)))

    @torch.inference_mode()
    def extend(
        self,
        past: Sequence[Tensor | None],
        new: Sequence[Sequence[int]],
        wanted: Sequence[Sequence[int]] | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Run new tokens on top of cached contexts of any lengths, in one batch.

            columns   0 .. longest past              .. longest past + longest new
            row 0     . . . [past past past] | [new new new]
            row 1     [past past past  past] | [new]  .   .        dots are masked

        Args:
            past: per row the keys and values so far, shape (2 * layers, kv heads, length, head size); None when empty.
            new: per row the tokens to add, at least one.
            wanted: per row the indices into its new tokens after which logits are wanted; None for the last of each.

        Returns:
            Per row its keys and values with the new tokens included, as views into those of the whole batch, which a
            caller who keeps few of them should clone; and the wanted logits of all rows one after the other, float32,
            shape (number wanted, vocabulary).
        """
        batch = len(new)
        lengths = [0 if cache is None else cache.shape[2] for cache in past]
        longest, width = max(lengths), max(len(tokens) for tokens in new)
        ids = torch.zeros(batch, width, dtype=torch.long)
        mask = torch.zeros(batch, longest + width, dtype=torch.long)
        for row, (length, tokens) in enumerate(zip(lengths, new, strict=True)):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, longest - length : longest + len(tokens)] = 1
        positions = torch.tensor(lengths)[:, None] + torch.arange(width)[None]
        wanted = [[len(tokens) - 1] for tokens in new] if wanted is None else wanted
        rows = torch.tensor([row for row, columns in enumerate(wanted) for _ in columns], dtype=torch.long)
        columns = torch.tensor([column for columns in wanted for column in columns], dtype=torch.long)
        cache = kv_room(past, longest, width)
        with self._only(rows, columns) as _:
            output = self._network(
                input_ids=ids.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions.to(self.device),
                past_key_values=cache,
                use_cache=True,
            )
        whole = kv_of(output.past_key_values)
        grown = [
            whole[row, :, :, longest - length : longest + len(tokens)]
            for row, (length, tokens) in enumerate(zip(lengths, new, strict=True))
        ]
        return grown, output.logits[0].float()

    def at_positions(self, sequences: Sequence[Sequence[int]], rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits at chosen positions only; gradients flow into the bank's adapter.

        Args:
            sequences: token ids, any lengths.
            rows: int64, shape (decisions,): the sequence each decision is in.
            columns: int64, shape (decisions,): the position whose next token is wanted.

        Returns:
            Logits, float32, shape (decisions, vocabulary), and the last hidden states there, float32,
            shape (decisions, hidden).
        """
        width = max(len(tokens) for tokens in sequences)
        ids = torch.zeros(len(sequences), width, dtype=torch.long)
        mask = torch.zeros(len(sequences), width, dtype=torch.long)
        for row, tokens in enumerate(sequences):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        with self._only(rows, columns) as taken:
            output = self._network(input_ids=ids.to(self.device), attention_mask=mask.to(self.device), use_cache=False)
        return output.logits[0].float(), taken[0].float()

    @contextmanager
    def _only(self, rows: Tensor, columns: Tensor) -> Iterator[list[Tensor]]:
        """Let the output layer see the chosen positions alone, and keep their hidden states."""
        rows, columns = rows.to(self.device), columns.to(self.device)
        taken: list[Tensor] = []

        def select(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            taken.append(inputs[0][rows, columns])
            return (taken[0][None],)

        handle = self._network.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield taken
        finally:
            handle.remove()
