"""A learner on two Ray processes, spoken to as one.

Pinned: it learns what one process learns, to 1e-5, also after a stop and a restart; what is wrong with episodes is
raised as ever and costs nothing; a peer that is killed is named within seconds, and a restore replaces it; processes
that do not hold the same are found out.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import ray

from olal.actors.learner_group import LearnerGroup
from olal.config import load_config
from olal.errors import GrammarError, ProcessesDisagree, ProcessLost
from olal.experiments.build import build_worker
from olal.experiments.build_learner import build_replica
from olal.experiments.seeds import training_tasks
from olal.grammar import choice_grammar
from olal.types import SamplingParams, Trajectory

CONFIG = load_config(
    [],
    {
        "env.options": {"size": 3, "goal": [2, 2], "max_turns": 5},
        "rollout.workers": 1,
        "learner.learning_rate": 2e-4,
        "learner.num_processes": 2,
    },
)


@pytest.fixture(scope="module")
def group() -> Iterator[LearnerGroup]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield LearnerGroup(partial(build_replica, CONFIG), 2)
    ray.shutdown()


@pytest.fixture(scope="module")
def batches() -> list[list[Trajectory]]:
    collector = build_worker(CONFIG, 0).collector
    played = collector.collect(training_tasks(0, 0, 26), SamplingParams(1.0, 64))
    collector.close()
    return [played[:13], played[13:]]


def learn_alone(batches: Sequence[Sequence[Trajectory]]) -> np.ndarray:
    learner, _ = build_replica(CONFIG)
    for batch in batches:
        learner.update(batch)
    return learner.current().flat


def test_two_processes_learn_what_one_learns_also_after_a_restart(group, batches):
    first = group.update(batches[0])
    stopped = group.checkpoint()
    second = group.update(batches[1])
    group.restore(stopped)
    again = group.update(batches[1])

    assert [first.update.version, second.update.version, group.version] == [1, 2, 2]
    assert again.update.digest == second.update.digest == group.current().digest
    np.testing.assert_allclose(second.update.flat, learn_alone(batches), rtol=0, atol=1e-5)


def test_foreign_episodes_are_refused_and_the_processes_stay_in_step(group, batches):
    turn = batches[0][0].turns[0]
    foreign = replace(
        batches[0][0], turns=(replace(turn, grammar=choice_grammar(["x", "y"])),), adapter_version=group.version
    )
    foreign = replace(foreign, adapter_digest=group.current().digest)
    before = group.version

    with pytest.raises(GrammarError):
        group.update([foreign])

    assert group.version == before
    assert group.update(batches[0]).update.version == before + 1


def test_a_killed_peer_is_named_within_seconds_and_replaced_by_a_restore(group, batches):
    group.restore(group._fresh)
    group.update(batches[0])
    saved = group.checkpoint()
    [pid] = ray.get([peer.pid.remote() for peer in group._peers])
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()

    with pytest.raises(ProcessLost, match="learner process 1 of 2 died"):
        group.update(batches[1])

    assert time.monotonic() - began < 15
    assert group.version == 0
    group.restore(saved)
    np.testing.assert_allclose(group.update(batches[1]).update.flat, learn_alone(batches), rtol=0, atol=1e-5)


def test_processes_that_do_not_hold_the_same_are_found_out(group, batches):
    group.update(batches[0])
    ray.get(group._peers[0].restore.remote(replace(group.checkpoint(), version=group.version + 1)))

    with pytest.raises(ProcessesDisagree, match="no longer hold the same"):
        group.update(batches[1])

    assert group.version == 0
