"""A learner in a process of its own, as another rank of the learner of a test: does what it is sent over a pipe.

python second_process.py FD          FD is the end of a multiprocessing pipe
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from olal.learners import mezo
from olal.learners.process_group import Meeting, ProcessGroup
from olal.learners.schedule import LinearDecay
from olal.models.base_model import load_base_model
from olal.models.lora_bank import LoraBank
from olal.models.policy_network import PolicyNetwork


@dataclass
class Order:
    """Join at `meeting`, then "learn" from batches, "talk", "leave", be "silent" for a while, or "die"."""

    meeting: Meeting
    then: str = "learn"
    learner: tuple[type[Any], Any, LinearDecay, int] | None = None
    batches: tuple[Any, ...] = ()


class RoundsByRank(mezo.MeZOLearner):
    """Whose float64 algebra comes out otherwise on every rank, as by another number of threads, only much more so."""

    def learn(self, trajectories: Any) -> Any:
        error = 1 + 0.01 * self._ranks.rank
        values, step = self._value.values, mezo.natural_step
        self._value.values = lambda hidden: values(hidden) * error
        mezo.natural_step = lambda *given, **limits: (step(*given, **limits)[0] * error, 0.0)
        try:
            return super().learn(trajectories)
        finally:
            self._value.values, mezo.natural_step = values, step


def obey(order: Order, network: PolicyNetwork) -> Any:
    group = ProcessGroup(order.meeting, timeout_s=120)
    if order.then == "leave":
        group.close()
    elif order.then == "silent":
        time.sleep(3)
    elif order.then == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order.then == "talk":
        group.gather("1" * 1000)
        group.gather("")
    if order.then != "learn":
        return None
    kind, settings, rate, seed = order.learner
    learner = kind(network, settings, rate, seed=seed)
    learner.join(group)
    for batch in order.batches:
        metrics = learner.update(batch).metrics
    return learner.checkpoint(), metrics


def main() -> None:
    torch.set_num_threads(1)
    pipe = Connection(int(sys.argv[1]))
    base = load_base_model("tiny", device="cpu")
    network = PolicyNetwork(base, LoraBank(base.network, rank=4, alpha=8.0, targets="all-linear", seed=0))
    pipe.send("ready")
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(obey(order, network))
        except Exception as error:
            pipe.send(error)


if __name__ == "__main__":
    sys.modules["second_process"] = sys.modules["__main__"]
    main()
