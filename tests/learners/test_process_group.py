"""Two real processes learn as one would.

Pinned: after several updates adapter, critic and metrics of every learner are those of a single process to 1e-5,
whatever the minibatches, passes and penalties, and both processes hold the same to the last bit; a learner of the
user's needs no change; a process that dies, leaves or is silent becomes one error within seconds.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olal.adapters import Checkpoint
from olal.errors import ProcessLost
from olal.grammar import choice_grammar
from olal.learners.process_group import Meeting, ProcessGroup, open_store
from olal.learners.schedule import LinearDecay
from olal.models.policy_network import PolicyNetwork
from olal.types import Trajectory

SCRIPT = Path(__file__).with_name("second_process.py")
EXTENDING = Path(__file__).parents[2] / "docs" / "extending.md"
ACTIONS = choice_grammar(["a", "b", "ca", "cb"])  # one or two decisions
PROMPTS = [(20, 30), (21, 31, 41), (22,)]
LOOPBACK = "127.0.0.1"
RATE = 5e-4  # Adam divides a gradient that is nothing but rounding by its own size

CASES: list[tuple[str, dict[str, Any]]] = [
    ("ppo", {}),
    ("ppo", {"target_kl": 0.02, "epochs": 3}),
    ("ppo_separate", {"tokens_per_pass": 8, "kl_penalty": 0.3}),
    ("grpo", {"entropy": 0.1}),
    ("rwr", {}),
    ("sft", {"keep": "all", "minibatch_decisions": 20}),
    ("simpo", {"entropy": 0.5, "kl_penalty": 0.3}),
    ("value", {"separate_critic": True}),
    ("mezo", {"directions": 3}),
]

Parts = tuple[type[Any], Any, LinearDecay, int]
Answer = Callable[..., list[Trajectory]]


@dataclass
class Second:
    """The other process, and the store at which it was met last."""

    process: subprocess.Popen[bytes]
    pipe: Any
    store: Any = None

    def meet(self, *, timeout_s: float = 120, **order: Any) -> ProcessGroup:
        self.store = open_store(LOOPBACK)
        orders, port = sys.modules["second_process"], self.store.port
        self.pipe.send(orders.Order(Meeting(LOOPBACK, port, 1, 2, LOOPBACK), **order))
        return ProcessGroup(Meeting(LOOPBACK, port, 0, 2, LOOPBACK), timeout_s=timeout_s)

    def result(self) -> Any:
        assert self.pipe.poll(120)
        found = self.pipe.recv()
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Second]]:
    """Every other process so far; they may import what the tests may."""
    folder = tmp_path_factory.mktemp("parts")
    blocks = re.findall(r"^```python\n(.*?)^```$", EXTENDING.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (folder / "dp_parts.py").write_text("\n".join(blocks))
    sys.path[:0] = [str(folder), str(SCRIPT.parent)]
    __import__("second_process")
    seconds: list[Second] = []
    yield seconds
    del sys.path[:2]
    for second in seconds:
        second.process.kill()
        second.process.wait()


@pytest.fixture
def second(started: list[Second]) -> Second:
    """The other process; a new one where the last is dead."""
    if not started or started[-1].process.poll() is not None:
        ours, theirs = Pipe()
        paths = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
        started.append(
            Second(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                ),
                ours,
            )
        )
        theirs.close()
        assert started[-1].pipe.poll(200)  # importing torch takes its time
        assert started[-1].result() == "ready"
    return started[-1]


def make_batches(answer: Answer, episodes: int = 61) -> tuple[list[Trajectory], ...]:
    """Three updates of as many episodes."""
    return tuple(
        answer(ACTIONS, lambda text, good=good: 3.0 * (text == good), prompts=PROMPTS, episodes=episodes)
        for good in ("a", "cb", "ca")
    )


def make(parts: Parts, network: PolicyNetwork) -> Any:
    kind, settings, rate, seed = parts
    return kind(network, settings, rate, seed=seed)


def learn_together(second: Second, parts: Parts, batches: tuple[Any, ...], network: PolicyNetwork) -> Any:
    """The learner here after all updates, and its last metrics; the other process must agree."""
    learner = make(parts, network)
    learner.join(second.meet(learner=parts, batches=batches))
    for batch in batches:
        metrics = learner.update(batch).metrics
    theirs, their_metrics = second.result()
    assert_close(theirs, learner.checkpoint(), atol=1e-12)  # sums of the ridge regression may round by thread
    np.testing.assert_array_equal(theirs.flat, learner.checkpoint().flat)
    assert metrics == pytest.approx(their_metrics, rel=1e-12, abs=1e-12)
    return learner, metrics


def assert_close(one: Checkpoint, other: Checkpoint, *, atol: float = 1e-5) -> None:
    """Adapters to `atol`, all else that was learned to `atol` times its size where that is above one."""
    np.testing.assert_allclose(one.flat, other.flat, rtol=0, atol=atol)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        size = max(1.0, np.abs(array).max())
        np.testing.assert_allclose(array, other.arrays[name], rtol=0, atol=atol * size, err_msg=name)


@pytest.mark.parametrize(("kind", "settings"), CASES)
def test_two_processes_learn_what_one_learns(kind, settings, second, learner_parts, tiny_learner, answer):
    batches, parts = make_batches(answer), learner_parts(kind, rate=RATE, **settings)

    together, metrics = learn_together(second, parts, batches, tiny_learner)

    alone = make(parts, tiny_learner)
    for batch in batches:
        expected = alone.update(batch).metrics
    assert_close(alone.checkpoint(), together.checkpoint())
    assert metrics == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_ranks_whose_algebra_rounds_otherwise_take_the_step_of_the_first(second, learner_parts, tiny_learner, answer):
    _, *others = learner_parts("mezo", rate=RATE, directions=3)
    batches, parts = make_batches(answer), (sys.modules["second_process"].RoundsByRank, *others)
    learner = make(parts, tiny_learner)
    learner.join(second.meet(learner=parts, batches=batches))

    for batch in batches:
        metrics = learner.update(batch).metrics

    theirs, their_metrics = second.result()
    assert metrics["advantage_std"] == pytest.approx(their_metrics["advantage_std"], rel=1e-12)
    np.testing.assert_array_equal(theirs.flat, learner.checkpoint().flat)


@pytest.mark.parametrize("kind", ["ppo", "reinforce", "mezo"])
def test_a_process_with_nothing_to_do_takes_the_same_steps(kind, second, learner_parts, tiny_learner, answer):
    batches = make_batches(answer, episodes=1)
    parts = learner_parts(kind, rate=RATE, **({"directions": 1} if kind == "mezo" else {}))

    together, _ = learn_together(second, parts, batches, tiny_learner)

    alone = make(parts, tiny_learner)
    for batch in batches:
        alone.update(batch)
    assert_close(alone.checkpoint(), together.checkpoint())


def test_a_learner_of_the_users_needs_no_change(second, tiny_learner, answer):
    winners, batches = sys.modules.get("dp_parts") or __import__("dp_parts"), make_batches(answer)
    settings = winners.WinnersSettings(epochs=2, minibatch_decisions=20)
    parts = (winners.Winners, settings, LinearDecay(RATE, 0.1, 100), 0)

    together, _ = learn_together(second, parts, batches, tiny_learner)

    alone = make(parts, tiny_learner)
    for batch in batches:
        alone.update(batch)
    assert_close(alone.checkpoint(), together.checkpoint())


def test_texts_are_gathered_in_the_order_of_the_ranks(second):
    group = second.meet(then="talk")

    assert group.gather("grüß") == ["grüß", "1" * 1000]
    assert group.gather("") == ["", ""]
    second.result()


@pytest.mark.parametrize("how", ["leave", "silent", "die"])
def test_a_process_that_is_gone_or_silent_is_an_error_within_seconds(how, second, learner_parts, tiny_learner, answer):
    learner = make(learner_parts("ppo"), tiny_learner)
    learner.join(second.meet(then=how, timeout_s=1))
    began = time.monotonic()

    with pytest.raises(ProcessLost, match="learner process 0 of 2 lost touch"):
        learner.update(make_batches(answer)[0])

    assert time.monotonic() - began < 10
    if how != "die":
        second.result()


def test_nobody_comes():
    store = open_store(LOOPBACK)

    with pytest.raises(ProcessLost, match="could not meet the others within 1 s"):
        ProcessGroup(Meeting(LOOPBACK, store.port, 0, 2, LOOPBACK), timeout_s=1)
