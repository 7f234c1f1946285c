"""Pinned: the adapter and, where both stages have one, the critic carry over, the optimizer starts afresh; a restart in
the middle of any stage, or between two, goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olal.adapters import SeedLog, SeedSpace, SubspaceKind, read_checkpoint, read_seed_log, write_checkpoint
from olal.grammar import choice_grammar
from olal.learners.base import Learner, SeedLearner
from olal.learners.mezo import MeZOLearner, MeZOSettings
from olal.learners.schedule import LinearDecay
from olal.learners.staged import StagedLearner
from olal.learners.staged import chain as chain_up
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

Make = Callable[..., Learner]
KINDS: tuple[SubspaceKind, ...] = ("b", "core", "full")
LIGHT, RATE = MeZOSettings(steps=1, directions=2), LinearDecay(0.02, 1.0, 1)
ABC = choice_grammar(["a", "b", "c"])
CHAINS = {
    "sft, ppo": (("sft", 2), ("ppo", 3)),
    "sft, value, simpo": (("sft", 1), ("value", 2), ("simpo", 2)),
    "value, ppo, mezo": (("value", 1), ("ppo", 2), ("mezo", 2)),
}


@pytest.fixture
def played(answer: Callable[..., list[Trajectory]]) -> list[list[Trajectory]]:
    return [
        answer(ABC, lambda text, i=i: 5.0 * (text == "abc"[i % 3]), prompts=[(20, 30), (22,)], episodes=24)
        for i in range(5)
    ]


@pytest.fixture
def stage(make_learner: Make) -> Callable[[str], StagedLearner]:
    def make(chain: str) -> StagedLearner:
        simpo = {"advantage": "critic"}
        learners = [make_learner(kind, **(simpo if kind == "simpo" else {})) for kind, _ in CHAINS[chain]]
        return chain_up(learners, [updates for _, updates in CHAINS[chain]])

    return make


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("stop", range(6))
def test_a_restart_anywhere_goes_on_bit_for_bit(
    stage: Callable[[str], StagedLearner],
    played: list[list[Trajectory]],
    tiny_learner: PolicyNetwork,
    tmp_path: Path,
    chain: str,
    stop: int,
) -> None:
    bank, whole, restarted = tiny_learner.bank, stage(chain), stage(chain)
    restarted.update(played[3])
    for given in played[:stop]:
        whole.update(given)
    path = write_checkpoint(tmp_path, whole.checkpoint(), bank.layout, bank.peft_config, keep=1)

    restarted.restore(read_checkpoint(path, bank.layout))

    for given in played[stop:]:
        one, other = whole.update(given), restarted.update(given)
        assert (one.update.version, one.update.digest) == (other.update.version, other.update.digest)
    assert whole.version == restarted.version == 5
    mine, yours = whole.checkpoint(), restarted.checkpoint()
    assert all(np.array_equal(mine.arrays[name], yours.arrays[name]) for name in mine.arrays)


def test_adapter_and_critic_carry_over_and_the_optimizer_starts_afresh(
    make_learner: Make, played: list[list[Trajectory]]
) -> None:
    value, ppo = make_learner("value"), make_learner("ppo", seed=7)
    staged = StagedLearner([make_learner("sft"), value, ppo], [1, 1, 1])
    staged.update(played[0])
    warm = staged.current().digest

    staged.update(played[1])

    critics = [learner.checkpoint().arrays for learner in (value, ppo)]
    names = [name for name in critics[0] if name.startswith("value.")]
    assert names
    assert all(np.array_equal(critics[0][name], critics[1][name]) for name in names)
    assert staged.current().digest == ppo.current().digest == warm
    assert warm != make_learner("sft").current().digest
    assert not [name for name in critics[1] if "optimizer" in name]
    assert ppo.checkpoint().state["return_variance"] == value.checkpoint().state["return_variance"] > 0


def test_a_critic_of_another_shape_does_not_carry_over(make_learner: Make, played: list[list[Trajectory]]) -> None:
    ppo, fresh = make_learner("ppo", value_hidden=8), make_learner("ppo", value_hidden=8).checkpoint()
    staged = StagedLearner([make_learner("value"), ppo], [1, 1])

    staged.update(played[0])

    after = ppo.checkpoint()
    assert all(np.array_equal(after.arrays[name], fresh.arrays[name]) for name in fresh.arrays)
    assert after.state["return_variance"] == 0


def test_seeds_of_all_stages_are_in_one_log_that_starts_anew_behind_a_gradient_stage(
    make_learner: Make, played: list[list[Trajectory]], tiny_learner: PolicyNetwork, tmp_path: Path
) -> None:
    """mezo 1, mezo 2 in another subspace, sft 3, value 4, mezo 5; stopped behind 3 and gone on."""
    space = SeedSpace(tiny_learner.bank.layout, tiny_learner.bank.initial)

    def make() -> Any:
        kinds = [MeZOLearner(tiny_learner, LIGHT, RATE, seed=i, space=space.within(k)) for i, k in enumerate(KINDS)]
        return chain_up([*kinds[:2], make_learner("sft"), make_learner("value"), kinds[2]], [1] * 5)

    learner, path, updates = make(), tmp_path / "seeds.log", []
    with SeedLog(path, learner.space) as log:
        for given in played[:3]:
            updates.append(learner.update(given))
            log.append(updates[-1].delta, updates[-1].update)
    restarted = make()
    restarted.restore(learner.checkpoint())
    with SeedLog(path, restarted.space) as log:
        log.rewind(restarted.current())
        for given in played[3:]:
            updates.append(restarted.update(given))
            log.append(updates[-1].delta, updates[-1].update)

    content = read_seed_log(path)
    assert isinstance(learner, SeedLearner)
    assert not isinstance(chain_up([make_learner("sft"), make_learner("ppo")], [1, 1]), SeedLearner)
    assert [step.delta is None for step in updates] == [False, False, True, True, False]
    assert [entry.version for entry in content.entries] == [1, 2, 4, 5]
    assert [entry.digest for entry in content.entries] == [updates[i].update.digest for i in (0, 1, 3, 4)]
    assert {delta.space for delta in content.deltas} == {space.within(kind).digest for kind in KINDS}
