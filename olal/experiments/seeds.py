"""Seeds of episodes: a function of the run's seed and the episode's number, never of who plays it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from olal.types import EpisodeTask, Perturbation

_TRAINING, _EVALUATION = 0, 1


def training_tasks(run_seed: int, first: int, count: int, *, group_size: int = 1) -> list[EpisodeTask]:
    """Episodes `first` to `first + count - 1` of a run.

    Args:
        run_seed: of the run.
        first: number of the first episode.
        count: how many.
        group_size: episodes that share the environment's seed, and with it their start; 1 for no groups.

    >>> [(task.group, task.episode_id) for task in training_tasks(0, 4, 4, group_size=2)]
    [(2, 4), (2, 5), (3, 6), (3, 7)]
    """
    if group_size == 1:
        return [EpisodeTask(number, _seed(_TRAINING, run_seed, number)) for number in range(first, first + count)]
    return [
        EpisodeTask(number, _seed(_TRAINING, run_seed, number // group_size), number // group_size)
        for number in range(first, first + count)
    ]


def population_tasks(run_seed: int, first: int, count: int, members: Sequence[Perturbation]) -> list[EpisodeTask]:
    """Episodes `first` to `first + count - 1` of a run, shared out to perturbed adapters, member after member.

    Every member plays the same starts with the same draws: the j-th episodes of all members are one group.

    Args:
        run_seed: of the run.
        first: number of the first episode.
        count: how many; a multiple of the members.
        members: the perturbed adapters.

    >>> pair = [Perturbation(7, 0.1), Perturbation(7, -0.1)]
    >>> [(task.group, task.perturbation.coefficient) for task in population_tasks(0, 8, 4, pair)]
    [(8, 0.1), (9, 0.1), (8, -0.1), (9, -0.1)]
    """
    each = count // len(members)
    return [
        EpisodeTask(first + i * each + j, _seed(_TRAINING, run_seed, first + j), first + j, member)
        for i, member in enumerate(members)
        for j in range(each)
    ]


def evaluation_tasks(evaluation_seed: int, count: int) -> list[EpisodeTask]:
    """Episodes that no run trains on: their seeds come from a stream of their own.

    >>> {task.seed for task in evaluation_tasks(0, 500)} & {task.seed for task in training_tasks(0, 0, 500)}
    set()
    """
    return [EpisodeTask(number, _seed(_EVALUATION, evaluation_seed, number)) for number in range(count)]


def _seed(purpose: int, base: int, number: int) -> int:
    """31 bits, which every environment's seeding accepts."""
    return int(np.random.SeedSequence([purpose, base, number]).generate_state(1)[0]) >> 1
