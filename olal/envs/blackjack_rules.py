"""Blackjack with an infinite deck, enumerated: what each action leads to, and how likely it is.

The rules are those of gymnasium's Blackjack-v1. Apart from what the player sees, only one thing matters: whether a
hand of 21 is a natural (an ace and a ten as the first two cards), since a natural may pay differently.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache

CARDS = {**dict.fromkeys(range(1, 10), 1 / 13), 10: 4 / 13}


@dataclass(frozen=True, slots=True)
class BlackjackState:
    """The player's turn.

    Attributes:
        total: value of the hand, with an ace as 11 where that does not bust.
        dealer: the card the dealer shows, 1 for an ace.
        ace: 1 where an ace counts 11, else 0.
        is_natural: whether the hand is an ace and a ten, just dealt.
    """

    total: int
    dealer: int
    ace: int
    is_natural: bool = False


def blackjack_states() -> list[BlackjackState]:
    """Every state in which the player may have to act."""
    hands = [(total, 0, False) for total in range(4, 22)] + [(total, 1, False) for total in range(12, 22)]
    hands.append((21, 1, True))
    return [BlackjackState(total, dealer, ace, natural) for total, ace, natural in hands for dealer in CARDS]


def blackjack_starts() -> dict[BlackjackState, float]:
    """The distribution of the first state: two cards for the player, one shown by the dealer."""
    starts: dict[BlackjackState, float] = defaultdict(float)
    for first, first_probability in CARDS.items():
        for second, second_probability in CARDS.items():
            total, ace = _value(first + second, 1 in (first, second))
            for dealer, dealer_probability in CARDS.items():
                state = BlackjackState(total, dealer, int(ace), is_natural=total == 21)
                starts[state] += first_probability * second_probability * dealer_probability
    return dict(starts)


def blackjack_hit(state: BlackjackState) -> dict[BlackjackState | None, float]:
    """Distribution of the state after another card; None where the hand busts.

    A hand whose ace counts 1 is at least 12, so that ace can never count 11 again and need not be remembered.
    """
    after: dict[BlackjackState | None, float] = defaultdict(float)
    low = state.total - 10 * state.ace
    for card, probability in CARDS.items():
        total, ace = _value(low + card, state.ace == 1 or card == 1)
        after[None if total > 21 else BlackjackState(total, state.dealer, int(ace))] += probability
    return dict(after)


def blackjack_stick(state: BlackjackState, natural_bonus: bool, natural_wins: bool) -> dict[float, float]:
    """Distribution of the reward once the dealer has played.

    Args:
        state: where the player sticks.
        natural_bonus: a natural that wins pays 1.5 (gymnasium's `natural`).
        natural_wins: a natural beats a dealer's 21 of three cards or more (gymnasium's `sab`).
    """
    rewards: dict[float, float] = defaultdict(float)
    for hidden, probability in CARDS.items():
        dealer_natural = sorted((state.dealer, hidden)) == [1, 10]
        for total, chance in _dealer(state.dealer + hidden, 1 in (state.dealer, hidden)):
            reward = float((state.total > total) - (state.total < total))
            if state.is_natural and natural_wins and not dealer_natural:
                reward = 1.0
            elif state.is_natural and natural_bonus and reward == 1.0:
                reward = 1.5
            rewards[reward] += probability * chance
    return dict(rewards)


@cache
def _dealer(low: int, has_ace: bool) -> tuple[tuple[int, float], ...]:
    """Distribution of the dealer's final total, 0 for a bust; the dealer draws below 17.

    Args:
        low: sum of the cards with every ace as 1.
        has_ace: whether one of them is an ace.
    """
    total, _ = _value(low, has_ace)
    if total >= 17:
        return ((total if total <= 21 else 0, 1.0),)
    totals: dict[int, float] = defaultdict(float)
    for card, probability in CARDS.items():
        for final, chance in _dealer(low + card, has_ace or card == 1):
            totals[final] += probability * chance
    return tuple(totals.items())


def _value(low: int, has_ace: bool) -> tuple[int, bool]:
    """The value of a hand and whether an ace counts 11 in it."""
    usable = has_ace and low + 10 <= 21
    return (low + 10, True) if usable else (low, False)
