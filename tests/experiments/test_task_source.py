"""What is handed out next.

Pinned: numbers come in order and once; lost ones first, the lowest of them before others, never doubled; new ones in
whole groups; the admission bound keeps episodes young enough for their turn, found here by simulation.
"""

from __future__ import annotations

import random

from olal.experiments.task_source import TaskSource, admission
from olal.types import EpisodeTask


def source(next_episode: int = 0, group_size: int = 1) -> TaskSource:
    return TaskSource(lambda number: EpisodeTask(number, 10 * number), next_episode, group_size=group_size)


def numbers(tasks: list[EpisodeTask]) -> list[int]:
    return [task.episode_id for task in tasks]


def test_numbers_are_handed_out_in_order_and_once():
    tasks = source(5)
    assert numbers([*tasks.take(2), *tasks.take(0), *tasks.take(3)]) == [5, 6, 7, 8, 9]
    assert tasks.next_episode == 10


def test_a_number_handed_out_again_is_the_same_task():
    tasks = source()
    [first] = tasks.take(1)
    tasks.put_back([0])
    assert tasks.take(1) == [first]


def test_lost_numbers_come_first_and_are_not_doubled():
    tasks = source(9)
    tasks.put_back([4, 2, 4])
    tasks.put_back([2, 3])
    assert numbers(tasks.take(2)) == [2, 3]
    assert numbers(tasks.take(3)) == [4, 9, 10]


def test_a_group_is_handed_out_whole():
    tasks = source(8, group_size=4)
    tasks.put_back([6])
    assert numbers(tasks.take(3)) == [6, 8, 9, 10, 11]
    assert numbers(tasks.take(1)) == [12, 13, 14, 15]


def test_a_restart_begins_with_what_is_open():
    tasks = source()
    tasks.take(6)
    tasks.put_back([1])
    tasks.restart(4, [3, 0])
    assert numbers(tasks.take(3)) == [0, 3, 4]


def test_no_episode_is_older_than_the_bound_unless_it_is_overtaken():
    for bound in (0, 1, 3):
        ages = simulate(bound, workers=5, longest=1)
        assert max(ages) == bound
        assert len(ages) > 400
        overtaken = [age for age in simulate(bound, workers=5, longest=30) if age > bound]
        assert len(overtaken) < 0.1 * len(ages)
    assert max(simulate(10**6, workers=40, longest=1)) > 3


def simulate(bound: int, *, workers: int, longest: int, batch: int = 8, steps: int = 4000) -> list[int]:
    """Ages at which a FIFO learner uses episodes that take random times, started as `admission` allows."""
    chance, version, queue, playing, ages = random.Random(bound), 0, [], [], []
    for _ in range(steps):
        allowed = admission(batch=batch, max_staleness=bound, buffered=len(queue), in_flight=len(playing))
        for _ in range(min(allowed, workers - len(playing))):
            playing.append((version, chance.randint(1, longest)))
        queue += [born for born, left in playing if left <= 1]
        playing = [(born, left - 1) for born, left in playing if left > 1]
        if len(queue) >= batch and chance.random() < 0.2:
            ages += [version - born for born in queue[:batch]]
            queue, version = queue[batch:], version + 1
    return ages
