"""Pinned: members' losses are the clipped surrogate or the weighted likelihood, summed up decision by decision; the
step is the natural one by exact derivatives along its directions, and goes downhill; an update is what its records
say; no backward pass and no autograd graph is made anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from olal.adapters import SeedSpace, encode_delta
from olal.grammar import choice_grammar
from olal.learners.advantages import batch_advantages
from olal.learners.base import Learner
from olal.learners.batch import DecisionBatch, make_batch
from olal.learners.mezo import Aim, MeZOLearner, MeZOSettings
from olal.learners.natural_step import natural_step
from olal.learners.schedule import LinearDecay
from olal.learners.scorer import ContextScorer
from olal.learners.stale import Stale
from olal.models.legal import legal_entropy
from olal.models.policy_network import PolicyNetwork
from olal.models.token_rows import TokenRows
from olal.returns import normalise
from olal.types import Trajectory

Make = Callable[..., Learner]
ABC = choice_grammar(["a", "b", "c"])


class WatchingNetwork(PolicyNetwork):
    """Notes whether anything could be differentiated through its passes."""

    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__(network.base, network.bank)
        self.graphs: list[bool] = []

    def read(self, laid: TokenRows) -> tuple[torch.Tensor, torch.Tensor]:
        logits, hidden = super().read(laid)
        self.graphs.append(not torch.is_inference_mode_enabled() or logits.requires_grad or not logits.is_inference())
        return logits, hidden


@pytest.fixture(scope="module")
def small(make_network: Callable[..., PolicyNetwork]) -> PolicyNetwork:
    """An adapter of 256 parameters."""
    return make_network(rank=1, alpha=4.0, targets=["o_proj"], seed=2)


@pytest.fixture(scope="module")
def trajectories(answer: Callable[..., list[Trajectory]]) -> list[Trajectory]:
    """Four contexts under the initial adapter, with rewards that differ between contexts and actions."""
    prompts = [(20, 30), (21, 31), (22, 32), (23, 33)]
    return answer(ABC, lambda text: {"a": 1.0, "b": -0.5, "c": 0.2}[text], prompts=prompts, episodes=40)


@pytest.fixture
def losses_at(stacked: Any) -> Callable[..., list[float]]:
    """The losses of given adapters over some of the four contexts."""

    def score(
        learner: Any, batch: DecisionBatch, worth: Any, flats: Sequence[Any], contexts: Sequence[int] = (0, 1, 2, 3)
    ) -> list[float]:
        scorer = ContextScorer(learner._network, batch, temperature=1.0)
        rows = np.flatnonzero(np.isin(batch.context_of, contexts))
        with torch.inference_mode():
            losses, _ = learner._losses(
                batch, scorer, Aim(worth, batch.behaviour_logprobs), np.array(contexts), rows, stacked(np.stack(flats))
            )
        return losses.tolist()

    return score


def setting(learner: Any, trajectories: list[Trajectory]) -> tuple[DecisionBatch, NDArray[np.float64]]:
    """The batch and the advantages of a learner's first update, whose critic knows nothing yet."""
    batch = make_batch(trajectories, learner._network.base.vocabulary, gamma=learner._settings.gamma)
    values = np.zeros(len(batch.contexts))
    advantages, _ = batch_advantages(batch, values, gamma=0.99, gae_lambda=0.95)
    return batch, normalise(advantages, std_floor=learner._settings.advantage_std_floor)


def derivatives(
    network: PolicyNetwork, batch: DecisionBatch, advantages: Any, entropy: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient of the same surrogate at the initial adapter, and of the log-probability of every decision, shape
    (N, parameters), by backpropagation. The clip is far away there.
    """
    flat = torch.tensor(network.bank.initial, requires_grad=True)
    network.bank.use(flat)
    legal, _ = ContextScorer(network, batch, temperature=1.0).score(np.arange(len(batch.contexts)))
    logprobs = legal[batch.context_of, batch.chosen]
    ratio = (logprobs - torch.tensor(batch.behaviour_logprobs)).exp()
    loss = -(ratio * torch.tensor(advantages)).mean() - entropy * legal_entropy(legal)[batch.context_of].mean()
    [slope] = torch.autograd.grad(loss, flat, retain_graph=True)
    scores = [torch.autograd.grad(one, flat, retain_graph=True)[0].double().numpy() for one in logprobs]
    return slope.double().numpy(), np.stack(scores)


def test_a_step_is_the_natural_one_by_exact_derivatives(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    options = {"directions": 5, "sigma": 3e-3, "steps": 1, "entropy": 0.05, "damping": 0.05, "step_kl": 1e9}
    learner: Any = make_learner("mezo", network=small, rate=0.01, rows_per_pass=7, **options)
    batch, advantages = setting(learner, trajectories)
    slope, scores = derivatives(small, batch, advantages, 0.05)

    records = learner.update(trajectories).delta.records

    directions = np.stack([learner.space.subspace.direction(int(seed), 0, 256) for seed in records["seed"]])
    expected, _ = natural_step(directions @ slope, directions @ scores.T, rate=0.01, max_kl=1e9, damping=0.05)
    assert records["coefficient"] == pytest.approx(expected, rel=0.02, abs=0.01 * np.abs(expected).max())


def test_a_step_goes_downhill_by_no_more_than_the_bound(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory], losses_at: Callable[..., list[float]]
) -> None:
    learner: Any = make_learner("mezo", network=small, directions=1, steps=1, rate=1.0, step_kl=1e-3)
    batch, advantages = setting(learner, trajectories)

    step = learner.update(trajectories)

    before, after = losses_at(learner, batch, advantages, [small.bank.initial, step.update.flat])
    assert after < before
    assert 0 < step.metrics["kl"] <= 1e-3 * (1 + 1e-6)


def test_a_step_that_would_raise_the_loss_is_shortened_or_left_out(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory], losses_at: Callable[..., list[float]]
) -> None:
    """Hardly damped and all but unbounded, a whole step goes far beyond what its slopes foretell."""
    learner: Any = make_learner("mezo", network=small, directions=24, rate=30.0, damping=1e-6, step_kl=2.0, sigma=0.2)
    batch, advantages = setting(learner, trajectories)

    step = learner.update(trajectories)

    before, after = losses_at(learner, batch, advantages, [small.bank.initial, step.update.flat])
    assert after <= before
    assert step.metrics["kl"] <= 2.0 * 2


def slow_loss(
    learner: Any, batch: DecisionBatch, worth: Any, flat: NDArray[np.float32], contexts: Sequence[int]
) -> float:
    """The objective with its entropy bonus over some contexts, one decision after the other."""
    network, settings, total = learner._network, learner._settings, 0.0
    rows = [row for row, context in enumerate(batch.context_of) if context in contexts]
    network.bank.use(torch.from_numpy(flat))
    for row in rows:
        context = batch.context_of[row]
        with torch.no_grad():
            logits = network.base.network(input_ids=torch.tensor([batch.contexts[context]])).logits[0, -1].double()
        weights = [math.exp(float(logits[token])) for token in batch.legal[context]]
        shares = [weight / sum(weights) for weight in weights]
        if settings.objective == "nll":
            total += worth[row] * math.log(shares[batch.chosen[row]])
        else:
            ratio = shares[batch.chosen[row]] / math.exp(batch.behaviour_logprobs[row])
            bounded = min(max(ratio, 1 - settings.clip), 1 + settings.clip)
            total += min(ratio * worth[row], bounded * worth[row])
        total -= settings.entropy * sum(share * math.log(share) for share in shares)
    return -total / len(rows)


@pytest.mark.parametrize("contexts", [(0, 1, 2, 3), (1, 3)], ids=["all", "some"])
@pytest.mark.parametrize("rows_per_pass", [1, 9, 10_000])
@pytest.mark.parametrize("objective", ["surrogate", "nll"])
def test_members_lose_what_the_surrogate_says(
    make_learner: Make,
    small: PolicyNetwork,
    trajectories: list[Trajectory],
    random_flat: Callable[..., np.ndarray],
    losses_at: Callable[..., list[float]],
    objective: str,
    rows_per_pass: int,
    contexts: Sequence[int],
) -> None:
    options = {"entropy": 0.3, "clip": 0.1, "rows_per_pass": rows_per_pass, "objective": objective}
    learner: Any = make_learner("mezo", network=small, **options)
    batch, advantages = setting(learner, trajectories)
    flats = [random_flat(small, seed=seed, std=0.5) for seed in range(6)]

    losses = losses_at(learner, batch, advantages, flats, contexts)

    expected = [slow_loss(learner, batch, advantages, flat, contexts) for flat in flats]
    assert losses == pytest.approx(expected, rel=1e-4)


def test_no_autograd_graph_is_made(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = WatchingNetwork(small)
    monkeypatch.setattr(torch.Tensor, "backward", None)
    monkeypatch.setattr(torch.autograd, "grad", None)

    make_learner("mezo", network=network).update(trajectories)

    assert len(network.graphs) > 2
    assert not any(network.graphs)


def test_directions_come_from_the_seed_stream_and_never_repeat(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    learner: Any = make_learner("mezo", network=small, directions=1, steps=1, rate=0.01)
    moves = []
    for _ in range(4):
        before = learner.current().flat
        moves.append(np.sign(learner.update(trajectories).update.flat - before))

    overlaps = [abs(float(moves[i] @ moves[j])) / 256 for i in range(4) for j in range(i)]
    assert max(overlaps) < 0.4


def test_a_step_looks_at_no_more_contexts_than_allowed(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    learner: Any = make_learner("mezo", network=small, contexts_per_step=3, steps=5)
    seen: list[int] = []
    losses = learner._losses
    learner._losses = lambda batch, scorer, advantages, contexts, rows, members: (
        seen.append(len(contexts)),
        losses(batch, scorer, advantages, contexts, rows, members),
    )[1]

    learner.update(trajectories)

    assert seen == [3] * 10  # the directions and, once the step is known, the way along it


def test_weights_of_the_likelihood_are_exponential_in_the_advantage(make_learner: Make, small: PolicyNetwork) -> None:
    learner: Any = make_learner("mezo", network=small, objective="nll", weight_temperature=0.5)

    stale = Stale(np.zeros(4), np.array([0.5, 1.0, 1.0, 1.0]), np.array([True, False, False, False]))

    worth = learner._worth(np.array([0.0, 0.5, -0.5, 100.0]), stale)

    expected = np.array([1.0, math.e, 1 / math.e, 20.0])
    assert worth == pytest.approx(expected / expected.mean())


def test_a_stale_decision_is_clipped_around_the_present_policy_and_counts_by_its_truncated_ratio(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    learner: Any = make_learner("mezo", network=small, steps=1, rate=0.3)
    learner.update(trajectories)
    aims, losses, flat = [], learner._losses, learner.current().flat
    learner._losses = lambda batch, scorer, aim, *rest: (aims.append(aim), losses(batch, scorer, aim, *rest))[1]
    learner._credit = lambda *given: (np.where(np.arange(40) % 2, 1.0, -2.0), {})

    metrics = learner.update(trajectories).metrics

    batch = make_batch(trajectories, small.base.vocabulary, gamma=0.99)
    small.bank.use(torch.from_numpy(flat))
    present, _ = ContextScorer(small, batch, temperature=1.0).survey(batch)
    weights = np.minimum(np.exp(present - batch.behaviour_logprobs), 1.0)
    assert metrics["stale_fraction"] == 1
    assert np.abs(present - batch.behaviour_logprobs).max() > 0.01
    assert aims[0].proximal == pytest.approx(present, abs=1e-6)
    assert aims[0].worth == pytest.approx(weights * np.where(np.arange(40) % 2, 1.0, -2.0), abs=1e-5)


def test_without_any_preference_the_likelihood_is_not_imitation(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    same = [replace(one, turns=(replace(one.turns[0], reward=1.0),)) for one in trajectories]

    step = make_learner("mezo", network=small, objective="nll").update(same)

    assert set(step.alarms) == {"advantages_zero"}
    assert step.update.digest == small.bank.layout.digest(small.bank.initial)


@pytest.mark.parametrize("subspace", ["full", "b", "core"])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_update_is_what_its_records_say(
    small: PolicyNetwork, trajectories: list[Trajectory], subspace: Any, threads: int
) -> None:
    space = SeedSpace(small.bank.layout, small.bank.initial, subspace=subspace)
    settings = MeZOSettings(directions=3, steps=4, anchor_decay=0.05)
    learner = MeZOLearner(small, settings, LinearDecay(0.02, 1.0, 1), seed=0, space=space)
    flat = small.bank.initial
    torch.set_num_threads(threads)
    try:
        for version in (1, 2, 3):
            step = learner.update([replace(one, adapter_version=version - 1) for one in trajectories])
            assert step.delta is not None
            assert len(encode_delta(step.delta)) <= 12 * 3 * 4 + 64
            assert len(step.delta.records) == 12
            flat = space.moved(flat, step.delta.records, keep=step.delta.keep, chunk=37)
            assert small.bank.layout.digest(flat) == step.update.digest == step.delta.digest
            assert flat.tobytes() == step.update.flat.tobytes()
    finally:
        torch.set_num_threads(1)


def test_only_the_subspace_moves(small: PolicyNetwork, trajectories: list[Trajectory]) -> None:
    space = SeedSpace(small.bank.layout, small.bank.initial, subspace="b")
    learner = MeZOLearner(small, MeZOSettings(steps=2), LinearDecay(0.02, 1.0, 1), seed=0, space=space)

    moved = small.bank.layout.split(learner.update(trajectories).update.flat - small.bank.initial)

    assert {name.split(".")[-2] for name, tensor in moved.items() if tensor.any()} == {"lora_B"}


def test_the_master_is_never_perturbed(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    learner: Any = make_learner("mezo", network=small, steps=3)
    losses, before = learner._losses, []

    def watch(*arguments: Any) -> Any:
        flat = learner._master.flat
        copy, address = flat.copy(), flat.ctypes.data
        result = losses(*arguments)
        before.append(np.array_equal(learner._master.flat, copy) and learner._master.flat.ctypes.data == address)
        return result

    learner._losses = watch
    learner.update(trajectories)

    assert before == [True] * 6


def test_a_loss_that_is_not_finite_moves_nothing(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    learner: Any = make_learner("mezo", network=small, steps=1)
    learner._losses = lambda *arguments: (np.full(32, np.nan), np.zeros((32, len(trajectories))))

    step = learner.update(trajectories)

    assert step.update.digest == learner.space.anchor_digest
    assert len(step.delta.records) == 0


def test_episodes_of_an_adapter_that_was_never_published_do_not_count(
    make_learner: Make, small: PolicyNetwork, trajectories: list[Trajectory]
) -> None:
    step = make_learner("mezo", network=small).update([replace(one, adapter_digest="f" * 16) for one in trajectories])

    assert step.metrics["dropped_foreign_adapter"] == len(trajectories)
    assert step.metrics["num_decisions"] == 0
    assert "nothing_admitted" in step.alarms
