"""Pinned: every alarm sounds where its fault is and stays silent where it is not; an update with a number that is not
finite is taken back whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from olal.grammar import choice_grammar
from olal.learners import alarms
from olal.learners.base import Learner
from olal.types import Trajectory

Make = Callable[..., Learner]
Answer = Callable[..., list[Trajectory]]
ABC = choice_grammar(["a", "b", "c"])


def answers(answer: Answer, pay: Callable[[str], float] = lambda text: float(text == "a")) -> list[Trajectory]:
    return answer(ABC, pay, prompts=[(20, 30), (22,)], episodes=30)


def test_a_healthy_update_raises_none(make_learner: Make, answer: Answer) -> None:
    assert make_learner("ppo").update(answers(answer)).alarms == {}


def test_equal_rewards_are_told(make_learner: Make, answer: Answer) -> None:
    step = make_learner("grpo").update(answers(answer, lambda text: 1.0))

    assert set(step.alarms) == {"advantages_zero"}


def test_a_ratio_away_from_one_at_identical_weights_is_told(make_learner: Make, answer: Answer) -> None:
    [first, *others] = answers(answer)
    completion = first.turns[0].completion
    off = tuple(
        value - 0.05 * (not forced) for value, forced in zip(completion.logprobs, completion.forced, strict=True)
    )
    wrong = replace(first, turns=(replace(first.turns[0], completion=replace(completion, logprobs=off)),))

    step = make_learner("ppo").update([wrong, *others])

    assert "1.051" in step.alarms["ratio_not_one"]


def test_an_older_policys_ratio_is_no_alarm(make_learner: Make, answer: Answer) -> None:
    learner = make_learner("ppo", rate=0.05)
    learner.update(answers(answer))

    step = learner.update(answers(answer))

    assert step.metrics["behaviour_kl"] > 0.1
    assert step.metrics["max_logprob_gap"] == 0  # of decisions at identical weights, of which there are none
    assert "ratio_not_one" not in step.alarms


def test_steps_that_move_nothing_are_told(make_learner: Make, answer: Answer) -> None:
    step = make_learner("ppo", rate=1e-20).update(answers(answer))

    assert "update_below_rounding" in step.alarms


@pytest.mark.parametrize(
    ("size", "bits", "sounds"), [(1e-9, 23, True), (1e-6, 23, False), (1e-3, 7, True), (1e-2, 7, False)]
)
def test_rounding_is_that_of_the_number_format(size: float, bits: int, sounds: bool) -> None:
    before = np.full(5, 1.0, np.float32)

    raised = alarms.below_rounding(before, (before + np.float64(size)).astype(np.float64), mantissa_bits=bits, steps=3)

    assert bool(raised) == sounds


def test_a_policy_that_runs_away_is_told(make_learner: Make, answer: Answer) -> None:
    step = make_learner("ppo", rate=1.0, target_kl=1e-4).update(answers(answer))

    assert step.metrics["kl"] > 1e-3
    assert "kl_blow_up" in step.alarms


def test_a_policy_without_chance_is_told_unless_it_solves_the_task(make_learner: Make, answer: Answer) -> None:
    shown = [one for one in answers(answer) if one.turns[0].completion.text == "a"]
    solved = [replace(one, success=True) for one in shown]
    learner, other = (make_learner("sft", keep="all", rate=0.05, epochs=30) for _ in range(2))

    told = [learner.update(shown) for _ in range(3)][-1]
    silent = [other.update(solved) for _ in range(3)][-1]

    assert told.metrics["entropy"] < 0.01
    assert "entropy_collapse" in told.alarms
    assert "entropy_collapse" not in silent.alarms


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rwr", "sft", "simpo", "value"])
def test_an_update_that_is_not_finite_is_refused_and_the_last_good_state_stays(
    make_learner: Make, answer: Answer, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = make_learner(kind)
    learner.update(answers(answer))
    before, arrays = learner.current(), {name: array.copy() for name, array in learner.checkpoint().arrays.items()}
    terms = learner.terms
    monkeypatch.setattr(
        learner, "terms", lambda *given: {name: term * float("nan") for name, term in terms(*given).items()}
    )

    step = learner.update(answers(answer))

    assert "refused" in step.alarms["non_finite"]
    assert (step.update.version, step.update.digest) == (2, before.digest)
    assert all(np.array_equal(learner.checkpoint().arrays[name], array) for name, array in arrays.items())


def test_a_gradient_that_is_not_finite_is_refused(
    make_learner: Make, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = make_learner("grpo")
    digest, step = learner.current().digest, learner.step

    def poison() -> None:
        learner._flat.grad[3] = torch.inf
        step()

    monkeypatch.setattr(learner, "step", poison)

    taken = learner.update(answers(answer))

    assert "non_finite" in taken.alarms
    assert taken.update.digest == digest
    monkeypatch.undo()
    assert np.isfinite(learner.update(answers(answer)).update.flat).all()


def test_equal_losses_of_a_perturbation_and_its_opposite_are_told(make_learner: Make, answer: Answer) -> None:
    shaken, still = (make_learner("mezo", sigma=sigma) for sigma in (0.02, 1e-30))

    assert shaken.update(answers(answer)).alarms == {}
    assert set(still.update(answers(answer)).alarms) == {"loss_plus_is_loss_minus"}


def test_losses_that_differ_between_directions_but_not_between_signs_are_told_too(
    make_learner: Make, answer: Answer
) -> None:
    learner: Any = make_learner("mezo", directions=8)
    learner._losses = lambda *arguments: (np.repeat(np.arange(8.0), 2), np.ones((16, 3)))

    step = learner.update(answers(answer))

    assert step.metrics["loss_spread"] > 1
    assert set(step.alarms) == {"loss_plus_is_loss_minus"}


def test_mezo_tells_what_gradient_learners_tell(make_learner: Make, answer: Answer) -> None:
    def off(one: Trajectory) -> Trajectory:
        completion = one.turns[0].completion
        logprobs = tuple(value - 0.5 * (value < 0) for value in completion.logprobs)
        return replace(one, turns=(replace(one.turns[0], completion=replace(completion, logprobs=logprobs)),))

    played = answers(answer)
    sharp = {"objective": "nll", "weight_temperature": 0.1, "entropy": 0.0}
    told = {
        "advantages_zero": make_learner("mezo").update(answers(answer, lambda text: 1.0)),
        "ratio_not_one": make_learner("mezo").update([off(played[0]), *played[1:]]),
        "update_below_rounding": make_learner("mezo", rate=1e-20).update(played),
        "kl_blow_up": make_learner("mezo", rate=1.0, steps=16, step_kl=100.0, **sharp).update(played),
        "entropy_collapse": make_learner("mezo", temperature=0.01).update(played),
        "nothing_admitted": make_learner("mezo").update([replace(one, error="broke") for one in played]),
    }

    assert {name: name in step.alarms for name, step in told.items()} == dict.fromkeys(told, True)
    assert told["kl_blow_up"].metrics["kl"] > 1


def test_an_update_of_mezo_that_is_not_finite_is_refused_whole(make_learner: Make, answer: Answer) -> None:
    learner: Any = make_learner("mezo", anchor_decay=0.1)
    learner.update(answers(answer))
    before, losses = learner.checkpoint(), learner._losses
    learner._losses = lambda *arguments: tuple(found * np.nan for found in losses(*arguments))

    step = learner.update(answers(answer))

    after = learner.checkpoint()
    assert "refused" in step.alarms["non_finite"]
    assert (step.update.version, step.update.digest, step.delta.keep) == (2, step.delta.parent_digest, 1.0)
    assert np.array_equal(after.flat, before.flat)
    assert after.state["random"] == before.state["random"]
    assert all(np.array_equal(after.arrays[name], array) for name, array in before.arrays.items())


def test_a_critic_that_is_not_finite_is_refused_although_the_adapter_is(
    make_learner: Make, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner: Any = make_learner("ppo", epochs=1, minibatch_decisions=10**6)
    before, step = learner.checkpoint().arrays["value.head.first.weight"], learner.step

    def poison() -> None:
        learner.critic.head.first.weight.grad[0, 0] = torch.nan
        step()

    monkeypatch.setattr(learner, "step", poison)

    taken = learner.update(answers(answer))

    assert "value.head.first.weight" in taken.alarms["non_finite"]
    assert np.array_equal(learner.checkpoint().arrays["value.head.first.weight"], before)
