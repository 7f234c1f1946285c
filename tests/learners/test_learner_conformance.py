"""Pinned, for every learner: versions count up by one; a rewarded action becomes likelier; the base model is never
touched; the same input gives the same adapter, also after a stop and a restart from disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from olal.adapters import read_checkpoint, write_checkpoint
from olal.errors import GrammarError
from olal.grammar import Vocabulary, choice_grammar
from olal.learners.base import Learner
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory, Turn

ABC = choice_grammar(["a", "b", "c"])
PROMPTS = [(20, 30), (21, 31, 41), (22,)]

FROZEN = {"value"}
EVERYTHING = {"sft": {"keep": "all"}}

Answer = Callable[..., list[Trajectory]]
Make = Callable[..., Learner]


def batch(answer: Answer, seed: int = 0) -> list[Trajectory]:
    """Answers under the initial adapter, with rewards that any learner can improve on."""
    return answer(ABC, lambda text: 5.0 * (text == "abc"[seed]), prompts=PROMPTS, episodes=60)


@torch.no_grad()
def probability_of(network: PolicyNetwork, vocabulary: Vocabulary, flat: np.ndarray, token: int) -> list[float]:
    """That of a token after each prompt, among the legal ones."""
    network.bank.use(torch.from_numpy(flat))
    legal = vocabulary.state(ABC, ()).legal.tolist()
    rows = [network.base.network(input_ids=torch.tensor([prompt])).logits[0, -1, legal] for prompt in PROMPTS]
    return [row.softmax(0)[legal.index(token)].item() for row in rows]


def state_digest(learner: Learner) -> str:
    """Of everything that was learned, critics included."""
    checkpoint = learner.checkpoint()
    arrays = [checkpoint.flat, *(checkpoint.arrays[name] for name in sorted(checkpoint.arrays))]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def base_digest(network: PolicyNetwork) -> str:
    tensors = [tensor.numpy().tobytes() for tensor in network.base.network.state_dict().values()]
    return hashlib.sha256(b"".join(tensors)).hexdigest()


def test_versions_count_up_and_every_update_is_digested(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind)
    updates = [learner.current(), *(learner.update(batch(answer)).update for _ in range(2))]

    assert [update.version for update in updates] == [0, 1, 2]
    assert learner.version == 2
    assert len({update.digest for update in updates}) == (1 if kind in FROZEN else 3)
    assert learner.current().digest == updates[-1].digest


def test_a_published_adapter_does_not_change_under_its_reader(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind)
    published = learner.update(batch(answer)).update
    before = published.flat.copy()

    learner.update(batch(answer))

    assert np.array_equal(published.flat, before)


def test_a_rewarded_action_becomes_likelier(
    make_learner: Make, answer: Answer, tiny_learner: PolicyNetwork, vocabulary: Vocabulary, tokenizer: Any, kind: str
) -> None:
    if kind in FROZEN:
        pytest.skip("its actor is frozen")
    settings = {"rate": 0.05, "steps": 6} if kind == "mezo" else {}
    learner, token = make_learner(kind, **settings), tokenizer.token_to_id("b")
    before = probability_of(tiny_learner, vocabulary, learner.current().flat, token)

    learner.update(batch(answer, seed=1))

    after = probability_of(tiny_learner, vocabulary, learner.current().flat, token)
    assert all(later > earlier + 0.01 for later, earlier in zip(after, before, strict=True))


def test_the_base_model_is_never_touched(
    make_learner: Make, answer: Answer, tiny_learner: PolicyNetwork, kind: str
) -> None:
    before = base_digest(tiny_learner)

    make_learner(kind).update(batch(answer))

    assert base_digest(tiny_learner) == before
    assert all(parameter.grad is None for parameter in tiny_learner.base.network.parameters())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_input_gives_the_same_adapter(make_learner: Make, answer: Answer, kind: str, threads: int) -> None:
    trajectories = [batch(answer, seed) for seed in (0, 1)]

    def digests() -> list[str]:
        learner = make_learner(kind)
        return [learner.update(given).update.digest for given in trajectories]

    torch.set_num_threads(threads)
    try:
        assert digests() == digests()
    finally:
        torch.set_num_threads(1)


def test_another_seed_gives_another_adapter(make_learner: Make, answer: Answer, kind: str) -> None:
    first, second = (make_learner(kind, seed=seed) for seed in (1, 2))
    for learner in (first, second):
        learner.update(batch(answer))

    assert state_digest(first) != state_digest(second)


def test_a_restart_from_disk_goes_on_bit_for_bit(
    make_learner: Make, answer: Answer, tiny_learner: PolicyNetwork, tmp_path: Path, kind: str
) -> None:
    trajectories, bank = [batch(answer, seed % 3) for seed in range(4)], tiny_learner.bank
    learner, restarted = make_learner(kind), make_learner(kind, seed=99)
    for given in trajectories[:2]:
        learner.update(given)
        restarted.update(batch(answer, 2))

    path = write_checkpoint(tmp_path, learner.checkpoint(), bank.layout, bank.peft_config, keep=1)
    restarted.restore(read_checkpoint(path, bank.layout))

    assert restarted.current().digest == learner.current().digest
    for given in trajectories[2:]:
        before = state_digest(learner)
        one, other = learner.update(given), restarted.update(given)
        assert state_digest(learner) != before
        assert state_digest(restarted) == state_digest(learner)
        assert (one.update.version, one.update.digest) == (other.update.version, other.update.digest)
        assert one.metrics == pytest.approx(other.metrics, rel=0, abs=0, nan_ok=True)


def test_a_restart_before_the_first_update_goes_on_too(
    make_learner: Make, answer: Answer, tiny_learner: PolicyNetwork, tmp_path: Path, kind: str
) -> None:
    learner, restarted, bank = make_learner(kind), make_learner(kind, seed=99), tiny_learner.bank
    restarted.update(batch(answer))

    path = write_checkpoint(tmp_path, learner.checkpoint(), bank.layout, bank.peft_config, keep=1)
    restarted.restore(read_checkpoint(path, bank.layout))

    assert restarted.update(batch(answer)).update.digest == learner.update(batch(answer)).update.digest


def test_a_checkpoint_does_not_change_with_its_learner(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind)
    learner.update(batch(answer))
    checkpoint = learner.checkpoint()
    before = {name: array.copy() for name, array in checkpoint.arrays.items()}
    flat = checkpoint.flat.copy()

    learner.update(batch(answer, 1))

    assert np.array_equal(checkpoint.flat, flat)
    assert all(np.array_equal(checkpoint.arrays[name], array) for name, array in before.items())


def test_a_restored_learner_does_not_write_into_its_checkpoint(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind)
    learner.update(batch(answer))
    checkpoint = learner.checkpoint()
    flat, arrays = checkpoint.flat.copy(), {name: array.copy() for name, array in checkpoint.arrays.items()}

    learner.restore(checkpoint)
    learner.update(batch(answer, 1))

    assert np.array_equal(checkpoint.flat, flat)
    assert all(np.array_equal(checkpoint.arrays[name], array) for name, array in arrays.items())


def test_the_gap_to_the_engine_is_tiny_over_a_large_batch(
    make_learner: Make, play: Callable[..., list[Trajectory]], kind: str
) -> None:
    trajectories = play("gridworld", {"max_moves": 4, "max_turns": 4}, episodes=60)
    least = {"steps": 1, "directions": 1} if kind == "mezo" else {"epochs": 1, "minibatch_decisions": 10**6}

    metrics = make_learner(kind, **least, **EVERYTHING.get(kind, {})).update(trajectories).metrics

    assert metrics["num_contexts"] > 600  # more than are scored at once
    assert metrics["max_logprob_gap"] < 1e-4


def test_nothing_to_learn_from_is_a_version_without_a_change(
    make_learner: Make, make_turn: Callable[..., Turn], episode: Callable[..., Trajectory], kind: str
) -> None:
    learner, only = make_learner(kind), make_turn(choice_grammar(["stick"]), "stick", 1.0)
    before = learner.current()

    step = learner.update([episode([only]), episode([])])

    assert step.update.version == 1
    assert step.update.digest == before.digest
    assert step.metrics["num_decisions"] == 0


def test_equal_rewards_are_no_reason_to_move_far(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind, entropy=0.0, rate=1e-3)
    same = answer(ABC, lambda text: 0.0, prompts=PROMPTS, episodes=30)
    before = learner.current().flat

    learner.update(same)

    assert np.abs(learner.current().flat - before).max() <= 1e-12


def test_a_foreign_completion_is_refused_and_nothing_is_learned(make_learner: Make, answer: Answer, kind: str) -> None:
    learner = make_learner(kind, **EVERYTHING.get(kind, {}))
    foreign = answer(choice_grammar(["a", "d"]), lambda text: 1.0, prompts=PROMPTS, episodes=9)
    before = learner.current()

    turns = [one.turns[0] for one in foreign]
    fakes = [Turn("", turn.prompt_token_ids, ABC, turn.completion, 1.0) for turn in turns]
    with pytest.raises(GrammarError):
        learner.update(
            [Trajectory(one.task, (fake,), True, False, None, 0, "") for one, fake in zip(foreign, fakes, strict=True)]
        )

    assert learner.current().version == before.version
    assert learner.current().digest == before.digest
