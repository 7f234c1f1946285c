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
from torch import Tensor, nn

from olal.models.base_model import BaseModel
from olal.models.kv_room import kv_of, kv_room
from olal.models.short_attention import use_short_attention
from olal.models.token_rows import TokenRows, rectangle, trees

# Seconds as fitted on CPU cores, of which only the ratios count.
_PASS_S, _TOKEN_S, _WEIGHT_S = 1.5e-3, 3e-6, 1.6e-11
_GPU_PASS_TOKENS = 2048
_PAIRS_PER_TOKEN = 4  # times the width: a token's linear layers beside a pair in its attention, both measured
# Makes of which tests have shown that they take an attention mask and positions of ours, and a narrowed last layer.
_KNOWN_MAKES = frozenset({"gemma", "gemma2", "gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3"})


class CausalNetwork:
    """A causal language model as it was loaded."""

    def __init__(self, base: BaseModel) -> None:
        """Take a base model."""
        self.base = base
        self.device = base.device
        self._network: Any = base.network
        if self._network.config.model_type in _KNOWN_MAKES:
            use_short_attention(self._network)

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
        chosen = [row * width + column for row, columns in enumerate(wanted) for column in columns]
        places = torch.tensor(chosen, dtype=torch.long)  # there may be none
        cache = kv_room(past, longest, width)
        with self._only(places) as _:
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
        """Teacher-forced logits at chosen positions only, one row a sequence; gradients flow into the bank's adapter.

        Args:
            sequences: token ids, any lengths.
            rows: int64, shape (decisions,): the sequence each decision is in.
            columns: int64, shape (decisions,): the position whose next token is wanted.

        Returns:
            Logits, float32, shape (decisions, vocabulary), and the last hidden states there, float32,
            shape (decisions, hidden).
        """
        return self._run(rectangle(sequences, rows, columns))

    def lay_out(self, sequences: Sequence[Sequence[int]], rows: Tensor, columns: Tensor) -> TokenRows:
        """Prepare `read`: what sequences share in front stands once, where the model allows it and it saves work.

        A row may then hold several sequences, so all of them run under one adapter.

        Args:
            sequences: as in `at_positions`.
            rows: as in `at_positions`.
            columns: as in `at_positions`.
        """
        if self._takes_trees and len(sequences) > 1:
            pairs = _PAIRS_PER_TOKEN * self.hidden_size
            laid = trees(sequences, rows, columns, pairs_per_token=pairs, dtype=self._network.dtype)
            if laid is not None:
                return laid
        return rectangle(sequences, rows, columns)

    def read(self, laid: TokenRows) -> tuple[Tensor, Tensor]:
        """Run what was laid out under one adapter, or copies of it under an adapter each.

        The feed-forward module of the last layer, on which no other token depends any more, sees the chosen places
        alone where that spares it half of them or more; it leaves the others as zeros, and nobody reads them.

        Args:
            laid: from `lay_out`, or copies of it.

        Returns:
            As `at_positions`.
        """
        size = laid.ids.numel()
        if self._last_mlp is None or 2 * len(laid.ends) > size:
            return self._run(laid)
        with _narrowed(self._last_mlp, laid.ends.to(self.device).unique(), size):
            return self._run(laid)

    def _run(self, laid: TokenRows) -> tuple[Tensor, Tensor]:
        positions = None if laid.positions is None else laid.positions.to(self.device)
        with self._only(laid.ends) as taken:
            output = self._network(
                input_ids=laid.ids.to(self.device),
                attention_mask=laid.mask.to(self.device),
                position_ids=positions,
                use_cache=False,
            )
        return output.logits[0].float(), taken[0].float()

    @cached_property
    def _takes_trees(self) -> bool:
        """Whether every layer attends to all that a mask of ours lets it see."""
        config = self._network.config
        kinds = getattr(config, "layer_types", None)
        if kinds is None:
            slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
            kinds = ["sliding_attention" if slides else "full_attention"]
        return config.model_type in _KNOWN_MAKES and set(kinds) == {"full_attention"}

    @cached_property
    def _last_mlp(self) -> nn.Module | None:
        """The feed-forward module of the last layer, if the model is of a known make."""
        if self._network.config.model_type not in _KNOWN_MAKES:
            return None
        layers = next(module for module in self._network.modules() if isinstance(module, nn.ModuleList))
        return layers[-1].mlp  # pyright: ignore[reportReturnType]

    @contextmanager
    def _only(self, places: Tensor) -> Iterator[list[Tensor]]:
        """Let the output layer see the chosen places of the flattened batch alone, and keep their hidden states."""
        places = places.to(self.device)
        taken: list[Tensor] = []

        def select(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            taken.append(inputs[0].flatten(0, 1)[places])
            return (taken[0][None],)

        handle = self._network.get_output_embeddings().register_forward_pre_hook(select)
        try:
            yield taken
        finally:
            handle.remove()


@contextmanager
def _narrowed(module: nn.Module, places: Tensor, size: int) -> Iterator[None]:
    """Let a module that treats every token alike see some of `size` tokens; its answer for the others is zero."""
    shape: list[int] = []

    def gather(_module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        shape[:] = inputs[0].shape
        return (inputs[0].reshape(1, size, -1).index_select(1, places),)

    def spread(_module: Any, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.new_zeros(size, shape[-1]).index_copy(0, places, output[0]).view(shape)

    handles = [module.register_forward_pre_hook(gather), module.register_forward_hook(spread)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
