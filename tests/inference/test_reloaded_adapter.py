"""Pinned: a new version with the weights of the last one starts without cached contexts, so that a run resumed between
the two samples bit for bit as one that was never stopped.
"""

from __future__ import annotations

from olal.config import load_config
from olal.experiments.build import build_worker
from olal.experiments.build_learner import build_learner
from olal.experiments.seeds import training_tasks
from olal.types import AdapterUpdate, SamplingParams


def test_a_new_version_of_the_same_weights_samples_as_a_fresh_engine_does():
    config, sampling = load_config([], {}), SamplingParams()
    first = build_learner(config)[0].current()
    second = AdapterUpdate(1, first.digest, first.flat)
    played, fresh = (build_worker(config, 0).collector for _ in range(2))
    played.load_adapter(first)
    played.collect(training_tasks(0, 0, 16), sampling)

    for collector in (played, fresh):
        collector.load_adapter(second)
    one, other = (collector.collect(training_tasks(0, 16, 16), sampling) for collector in (played, fresh))

    logprobs = [[turn.completion.logprobs for episode in part for turn in episode.turns] for part in (one, other)]
    assert logprobs[0] == logprobs[1]
