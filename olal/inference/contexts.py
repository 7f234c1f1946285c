"""ContextRunner: next-token logits after any contexts under any loaded adapters, no token run twice.

Rows that continue a context already computed bring it along; rows that start afresh share what they begin with; and
what a pass computed is kept for those who come by the same tokens later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from olal.inference.context_cache import Context, ContextCache
from olal.inference.trie import TrieNode, trie_levels
from olal.models.causal_network import CausalNetwork


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """Contexts along one token sequence.

    Attributes:
        adapter: key of the adapter to run under.
        tokens: the whole sequence.
        lengths: the prefixes whose next-token logits are wanted, as ascending lengths; the last is that of `tokens`.
        near: a context that `tokens` continues and at most `lengths[0]` long, where the caller holds one.
        is_kept: whether others may come by these tokens, so that the cache should keep them.
    """

    adapter: str
    tokens: tuple[int, ...]
    lengths: tuple[int, ...]
    near: Context | None = None
    is_kept: bool = True


class ContextRunner:
    """Runs one network for queries of many rows."""

    def __init__(
        self, network: CausalNetwork, use_adapters: Callable[[Sequence[str]], None], *, cache_bytes: int, width: int
    ) -> None:
        """Start with an empty cache.

        Args:
            network: the model.
            use_adapters: called before a pass with the adapter key of each of its rows.
            cache_bytes: memory for kept contexts.
            width: most rows in one model pass.
        """
        self._network = network
        self._use_adapters = use_adapters
        self._width = width
        self.cache = ContextCache(cache_bytes)
        self.num_passes = 0

    def run(self, queries: Sequence[ContextQuery]) -> list[list[Context]]:
        """Per query, the context of each of its lengths."""
        found: dict[tuple[str, tuple[int, ...], tuple[int, ...]], list[Context]] = {}
        missing: list[ContextQuery] = []
        for query in queries:
            key = (query.adapter, query.tokens, query.lengths)
            if key not in found:
                known = self._known(query)
                found[key] = known
                if not known:
                    missing.append(query)
        past = [self._ancestor(query) for query in missing]
        self._share_beginnings(missing, past)
        lengths = [
            len(query.tokens) - (0 if before is None else len(before.tokens))
            for query, before in zip(missing, past, strict=True)
        ]
        for group in split_by_length(lengths, pass_cost=self._network.pass_cost_tokens):
            for start in range(0, len(group), self._width):
                rows = group[start : start + self._width]
                made = self._pass([missing[row] for row in rows], [past[row] for row in rows])
                for row, contexts in zip(rows, made, strict=True):
                    query = missing[row]
                    found[query.adapter, query.tokens, query.lengths] = contexts
        return [found[query.adapter, query.tokens, query.lengths] for query in queries]

    def keep(self, adapter: str, context: Context) -> None:
        """Keep a context whose row is at its end, for a later turn that continues it."""
        if self.cache.get(adapter, context.tokens) is None:
            self.cache.put(adapter, Context(context.tokens, context.past.clone(), context.logits))

    def _known(self, query: ContextQuery) -> list[Context]:
        """The contexts of a query if all are there already, else none."""
        contexts: list[Context] = []
        for length in query.lengths:
            context = self.cache.get(query.adapter, query.tokens[:length])
            if context is None:
                return []
            contexts.append(context)
        return contexts

    def _ancestor(self, query: ContextQuery) -> Context | None:
        """The longest context known that lies before the first wanted one."""
        first = query.tokens[: query.lengths[0]]
        if query.near is not None and query.near.past.shape[2] < len(first):
            return query.near
        return self.cache.longest_prefix(query.adapter, first)

    def _share_beginnings(self, queries: Sequence[ContextQuery], past: list[Context | None]) -> None:
        """Run once what several fresh rows begin with, and make it their ancestor."""
        worth = self._network.pass_cost_tokens
        for adapter in dict.fromkeys(query.adapter for query in queries):
            fresh = [
                i
                for i, query in enumerate(queries)
                if past[i] is None and query.adapter == adapter and query.lengths[0] > 1
            ]
            if len(fresh) < 2:
                continue
            # one token less, so that each row has something left to run
            beginnings = [queries[i].tokens[: queries[i].lengths[0] - 1] for i in fresh]
            for level in trie_levels(beginnings, least_saved=worth):
                shared_nodes = [node for node in level if (len(node.members) - 1) * len(node.tokens) >= worth]
                for start in range(0, len(shared_nodes), self._width):
                    nodes = shared_nodes[start : start + self._width]
                    shared = [beginnings[_longest(node, beginnings)][: node.stop] for node in nodes]
                    made = self._pass(
                        [ContextQuery(adapter, tokens, (len(tokens),)) for tokens in shared],
                        [past[fresh[node.members[0]]] for node in nodes],
                    )
                    for node, [context] in zip(nodes, made, strict=True):
                        for member in node.members:
                            past[fresh[member]] = context

    def _pass(self, queries: Sequence[ContextQuery], past: Sequence[Context | None]) -> list[list[Context]]:
        """One model pass: each sequence on top of its ancestor."""
        starts = [0 if context is None else len(context.tokens) for context in past]
        self._use_adapters([query.adapter for query in queries])
        grown, logits = self._network.extend(
            [None if context is None else context.past for context in past],
            [query.tokens[start:] for query, start in zip(queries, starts, strict=True)],
            [[n - start - 1 for n in query.lengths] for query, start in zip(queries, starts, strict=True)],
        )
        self.num_passes += 1
        values, row = logits.cpu().numpy(), 0
        answers: list[list[Context]] = []
        for query, view in zip(queries, grown, strict=True):
            contexts: list[Context] = []
            whole = view.clone() if query.is_kept else view
            for length in query.lengths:
                contexts.append(Context(query.tokens[:length], whole[:, :, :length], values[row].copy()))
                row += 1
            answers.append(contexts)
            for context in contexts if query.is_kept else ():
                self.cache.put(query.adapter, context)
        return answers


def _longest(node: TrieNode, sequences: Sequence[tuple[int, ...]]) -> int:
    return max(node.members, key=lambda member: len(sequences[member]))


def split_by_length(lengths: Sequence[int], *, pass_cost: int) -> list[list[int]]:
    """Group rows into passes, each padded to its longest row, so that the cost is least.

    Args:
        lengths: tokens each row has to run.
        pass_cost: how many tokens one more pass is worth.

    Returns:
        Row indices by pass. Minimises the sum over passes of pass_cost + rows * longest, exactly, by dynamic
        programming over the distinct lengths.

    >>> split_by_length([1, 1, 1, 30, 1], pass_cost=20)
    [[0, 1, 2, 4], [3]]
    """
    if not lengths:
        return []
    steps = sorted(set(lengths))
    counts = [lengths.count(step) for step in steps]
    best: list[tuple[int, int]] = [(0, 0)]  # of the first i distinct lengths: the cost, and where the last pass begins
    for stop in range(1, len(steps) + 1):
        options = [
            (best[start][0] + pass_cost + sum(counts[start:stop]) * steps[stop - 1], start) for start in range(stop)
        ]
        best.append(min(options))
    bounds, stop = [], len(steps)
    while stop:
        start = best[stop][1]
        bounds.append((steps[start], steps[stop - 1]))
        stop = start
    return [[row for row, length in enumerate(lengths) if low <= length <= high] for low, high in reversed(bounds)]
