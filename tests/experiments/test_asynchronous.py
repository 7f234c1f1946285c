"""Pinned: of what is said about the buffer the driver believes the latest, in whatever order it comes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from olal.actors import DeliveryReceipt, ReplayStatus, RolloutReport
from olal.adapters import AdapterProof, FollowerCounts
from olal.experiments.asynchronous import AsynchronousTraining
from olal.experiments.suspects import Suspects
from olal.experiments.worker_pool import Answer, Worker
from olal.replay import Ledger


def status(at_s: float) -> ReplayStatus:
    return ReplayStatus(
        0, 9, 0, ready=int(at_s), epoch=0, ledger=Ledger(), trouble="", next_unknown=0, pid=1, at_s=at_s
    )


def answer(*said: ReplayStatus) -> Answer:
    receipts = tuple(DeliveryReceipt((), (), None, one) for one in said)
    report = RolloutReport((), receipts, (), (), 0, AdapterProof(0, "d", 0.0), FollowerCounts(), 1, 0.0)
    return Answer(Worker(0, None), "done", report)


@pytest.mark.parametrize(
    ("known", "said", "believed"), [(5, [3], 5), (5, [7], 7), (5, [7, 6], 7), (5, [4, 9], 9), (5, [], 5)]
)
def test_what_a_worker_brings_late_does_not_replace_what_is_known_already(known, said, believed):
    nothing = lambda *_: []  # noqa: E731
    driver: Any = SimpleNamespace(
        _replay=status(known), _is_adapter_lost=False, _suspects=Suspects(), _survivors=nothing, count_failures=nothing,
        _source=SimpleNamespace(put_back=nothing), log=SimpleNamespace(add=nothing), crew=SimpleNamespace(pool=None),
        measured=SimpleNamespace(played=nothing), watch=SimpleNamespace(progress=nothing),
    )  # fmt: skip

    AsynchronousTraining._take(driver, answer(*map(status, said)))

    assert driver._replay.ready == believed
