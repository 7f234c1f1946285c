"""Which episode kills workers.

Pinned: the one that does is found within a few deaths, however many are in hand together; where workers die for other
reasons, no episode is given up.
"""

from __future__ import annotations

import random

from olal.experiments.suspects import Suspects


def play(guilty: int | None, chance_of_death: float, *, episodes: int = 300, seed: int = 0) -> tuple[list[int], int]:
    """Hands out shares as the suspicion allows until all are over; returns who was given up, and how many died."""
    chance, suspects, waiting = random.Random(seed), Suspects(), list(range(episodes))
    given_up, deaths = [], 0
    while waiting:
        share = waiting[: suspects.limit(waiting[0]) or 160]
        if guilty in share or chance.random() < chance_of_death:
            deaths += 1
            given_up += (found := suspects.died(share))
            waiting = [number for number in waiting if number not in found]
        else:
            suspects.cleared(share)
            waiting = waiting[len(share) :]
        assert deaths < 2000
    return given_up, deaths


def test_the_one_that_kills_is_found_within_a_few_deaths():
    for guilty in (0, 77, 159, 160, 299):
        given_up, deaths = play(guilty, 0.0)
        assert given_up == [guilty]
        assert deaths <= 8


def test_where_workers_die_by_chance_hardly_an_episode_is_given_up():
    lost = [len(play(None, 0.4, seed=seed)[0]) for seed in range(20)]
    assert sum(lost) <= 0.005 * 20 * 300


def test_who_ended_without_a_death_is_above_suspicion_again():
    suspects = Suspects()
    for _ in range(4):
        suspects.died([1, 2])
    suspects.died([1])
    assert suspects.limit(1) == 1
    suspects.cleared([1])
    assert suspects.limit(1) is None
    assert suspects.died([1]) == []
    assert suspects.are_among([1, 2])
    suspects.cleared([2])
    assert not suspects.are_among([1, 2])
