"""What a rollout process answers for.

Pinned: a worker's proof is what its own engine computes, so an engine that did not take an adapter is found out, and
believed again once it has loaded it anew; what belongs to a policy that is no more may end, counts for nothing, and
can be asked for again.
"""

from __future__ import annotations

import pytest
import torch

from olal.adapters import AdapterFollower, AdapterProof, Publication, SeedSpace
from olal.agents import PromptAgent
from olal.envs import make_env
from olal.inference.transformers_engine import TransformersEngine
from olal.models.probe import probe_logprob
from olal.rollout import AdaptiveConcurrency, Collector, EpisodeStream, RolloutWorker
from olal.types import AdapterUpdate, EpisodeTask, SamplingParams

SAMPLING = SamplingParams(1.0, 16)


class DeafEngine(TransformersEngine):
    """Takes note of an adapter's name and leaves its weights where they are, as long as it is deaf."""

    is_deaf = False

    def load_adapter(self, update: AdapterUpdate, *, is_current: bool = True) -> None:
        super().load_adapter(update, is_current=is_current)
        if self.is_deaf:
            slot = self._adapters._slots[update.digest]
            object.__setattr__(slot, "flat", torch.from_numpy(self.initial.copy()))


@pytest.fixture
def worker(make_network) -> RolloutWorker:
    network = make_network()
    engine = DeafEngine(network)
    engine.initial = network.bank.initial
    follower = AdapterFollower(SeedSpace(network.bank.layout, network.bank.initial))
    parts = (lambda: make_env("gridworld", {})), (lambda env: PromptAgent(env.instructions)), engine
    stream = EpisodeStream(*parts, follower=follower, concurrency=AdaptiveConcurrency(4, start=4))
    made = RolloutWorker(engine, Collector(*parts, follower=follower), stream, follower, network.base.vocabulary.size)
    made.engine = engine
    return made


@pytest.fixture
def published(tiny_learner, random_flat) -> Publication:
    flat = random_flat(tiny_learner, seed=5, std=0.05)
    update = AdapterUpdate(1, tiny_learner.bank.layout.digest(flat), flat)
    return Publication(AdapterProof(1, update.digest, probe_logprob(tiny_learner, update)), (update,))


@pytest.mark.parametrize("player", ["collector", "stream"])
def test_a_worker_proves_the_adapter_it_was_given(worker, published, player):
    proof = worker.follow(published, lambda reference: reference, getattr(worker, player))
    assert proof.agrees_with(published.proof, 1e-4)
    assert not AdapterProof(1, "x", proof.probe).agrees_with(published.proof, 1e-4)


@pytest.mark.parametrize("player", ["collector", "stream"])
def test_an_engine_that_did_not_take_the_adapter_is_found_out_until_it_has(worker, published, player):
    worker.engine.is_deaf = True
    proof = worker.follow(published, lambda reference: reference, getattr(worker, player))
    assert (proof.version, proof.digest) == (1, published.proof.digest)
    assert not proof.agrees_with(published.proof, 1e-3)

    worker.engine.is_deaf = False
    proof = worker.follow(published, lambda reference: reference, getattr(worker, player), anew=True)
    assert proof.agrees_with(published.proof, 1e-4)


def test_a_version_that_was_made_again_is_proven_again(worker, published, tiny_learner, random_flat):
    worker.follow(published, lambda reference: reference, worker.stream)
    flat = random_flat(tiny_learner, seed=6, std=0.05)
    update = AdapterUpdate(1, tiny_learner.bank.layout.digest(flat), flat)
    again = Publication(AdapterProof(1, update.digest, probe_logprob(tiny_learner, update)), (update,))

    assert worker.follow(again, lambda reference: reference, worker.stream).agrees_with(again.proof, 1e-4)


def test_what_is_played_by_an_engine_that_did_not_take_the_adapter_ends_before_it_is_loaded_anew(worker, published):
    worker.engine.is_deaf = True
    worker.follow(published, lambda reference: reference, worker.stream)
    worker.offer([EpisodeTask(number, seed=number) for number in range(4)])
    worker.run(SAMPLING, 0.0)
    assert worker.stream.in_flight
    worker.engine.is_deaf = False
    worker.follow(published, lambda reference: reference, worker.stream, anew=True)
    worker.offer([EpisodeTask(1, seed=1), EpisodeTask(9, seed=9)])

    played, proofs = [], []
    for _ in range(200):
        played += worker.run(SAMPLING, 0.05)
        proofs.append(worker.follow(published, lambda reference: reference, worker.stream))

    assert sorted(one.task.episode_id for one in played) == [1, 9]
    assert proofs[-1].agrees_with(published.proof, 1e-4)
    assert worker.proofs_of(played) == [proofs[-1]]


def test_what_was_disowned_counts_for_nothing_and_can_be_asked_for_again(worker):
    worker.offer([EpisodeTask(number, seed=number) for number in range(6)])
    worker.run(SAMPLING, 0.0)
    worker.disown()
    assert worker.ids == ()
    worker.offer([EpisodeTask(1, seed=1), EpisodeTask(7, seed=7)])
    assert sorted(worker.ids) == [1, 7]

    played = [one for _ in range(200) for one in worker.run(SAMPLING, 0.05)]

    assert sorted(one.task.episode_id for one in played) == [1, 7]
    assert worker.ids == ()


def test_a_task_that_the_worker_has_is_not_taken_twice(worker):
    worker.offer([EpisodeTask(3, seed=3)])
    worker.offer([EpisodeTask(3, seed=3), EpisodeTask(4, seed=4)])
    played = [one for _ in range(200) for one in worker.run(SAMPLING, 0.05)]
    assert sorted(one.task.episode_id for one in played) == [3, 4]
