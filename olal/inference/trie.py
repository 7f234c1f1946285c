"""A radix trie of token sequences: what several of them begin with is run through the model once.

prompt a b c ─┬─ d e        three sequences, three passes:  [a b c]  then  [d e] and [f] in one batch,
└─ f ─┬─ g                                    then  [g] and [h i]
└─ h i
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class TrieNode:
    """A run of tokens below its parent.

    Attributes:
        parent: the node before; None at a root.
        start: tokens before this node.
        tokens: this node's own.
        members: indices of the sequences that pass through it.
        children: the nodes after it.
    """

    parent: TrieNode | None
    start: int
    tokens: tuple[int, ...]
    members: tuple[int, ...]
    children: list[TrieNode] = field(default_factory=list)

    @property
    def stop(self) -> int:
        """Tokens up to the end of this node."""
        return self.start + len(self.tokens)


def trie_levels(sequences: Sequence[tuple[int, ...]], *, least_saved: int = 1) -> list[list[TrieNode]]:
    """Arrange sequences so that shared beginnings are nodes of their own.

    Args:
        sequences: not empty; a sequence may begin another or equal it.
        least_saved: a beginning shared by n sequences becomes a node where (n - 1) times its length is at least this;
            below that it is cheaper to run it n times than to wait for one more pass.

    Returns:
        Nodes by depth, so that every node comes after its parent. The paths spell the sequences.

    >>> [[node.tokens for node in level] for level in trie_levels([(1, 2, 3), (1, 2, 4), (5,)])]
    [[(1, 2), (5,)], [(3,), (4,)]]
    """
    levels: list[list[TrieNode]] = []
    pending: list[tuple[TrieNode | None, int, int, int, list[int]]] = [(None, 0, 0, 0, list(range(len(sequences))))]
    while pending:
        parent, depth, start, agreed, members = pending.pop()
        longest = max(members, key=lambda member: len(sequences[member]))
        shared = _agreement([sequences[member] for member in members], agreed)
        if shared == len(sequences[longest]) or (
            shared > start and (len(members) - 1) * (shared - start) >= least_saved
        ):
            node = TrieNode(parent, start, sequences[longest][start:shared], tuple(members))
            levels.extend([] for _ in range(depth + 1 - len(levels)))
            levels[depth].append(node)
            if parent is not None:
                parent.children.append(node)
            parent, depth, start = node, depth + 1, shared
        groups: dict[int, list[int]] = {}
        for member in members:
            if len(sequences[member]) > shared:
                groups.setdefault(sequences[member][shared], []).append(member)
        ended = [member for member in members if start < len(sequences[member]) == shared]
        pending.extend((parent, depth, start, shared + 1, group) for group in reversed(groups.values()))
        if ended:
            pending.append((parent, depth, start, shared, ended))
    return levels


def _agreement(sequences: list[tuple[int, ...]], agreed: int) -> int:
    """Length of the common beginning, known to be at least `agreed`."""
    first, last = min(sequences), max(sequences)
    length, bound = agreed, min(len(first), len(last))
    while length < bound and first[length] == last[length]:
        length += 1
    return length
