"""Pinned: whoever waits for an environment is woken by it, always and at once, and by whoever wants the wait to end."""

from __future__ import annotations

import os
import threading
import time

import pytest

from olal.rollout.episode import Seen
from olal.rollout.lane import Job, Lane, Mailbox
from olal.types import TimeStep

LONG_S = 20.0
"""A wait that was not ended by what should end it."""


def job() -> Job:
    return Job(lambda: Seen(TimeStep("here"), None), lambda: None)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.mark.parametrize("lanes", [1, 3])
def test_no_answer_is_missed_however_it_falls_between_looking_and_waiting(mailbox: Mailbox, lanes: int) -> None:
    threads = [Lane(mailbox, time.monotonic) for _ in range(lanes)]
    sent = received = 0
    while received < 3000:
        for lane in threads:
            lane.put([job()])
            sent += 1
        while received < sent:
            began = time.monotonic()
            answers = mailbox.take(LONG_S)
            assert answers, "nothing came, or nobody was woken"
            assert time.monotonic() - began < LONG_S / 2
            received += len(answers)
    for lane in threads:
        lane.stop()


def test_a_wait_without_an_answer_ends_in_time(mailbox: Mailbox) -> None:
    began = time.monotonic()
    assert mailbox.take(0.05) == []
    assert 0.04 < time.monotonic() - began < LONG_S / 2


def test_a_nudge_ends_the_wait_that_is_under_way(mailbox: Mailbox) -> None:
    threading.Timer(0.05, mailbox.nudge).start()
    began = time.monotonic()
    assert mailbox.take(LONG_S) == []
    assert time.monotonic() - began < LONG_S / 2


def test_a_nudge_before_the_wait_ends_the_next_one_and_no_other(mailbox: Mailbox) -> None:
    mailbox.nudge()
    began = time.monotonic()
    assert mailbox.take(LONG_S) == []
    assert time.monotonic() - began < LONG_S / 2

    assert mailbox.take(0.05) == []
    assert time.monotonic() - began > 0.04


def test_waking_somebody_who_never_looks_does_not_hold_anybody_up(mailbox: Mailbox) -> None:
    woken = threading.Event()
    threading.Thread(target=lambda: ([mailbox.wake() for _ in range(200_000)], woken.set()), daemon=True).start()
    assert woken.wait(LONG_S)


def test_a_mailbox_that_is_gone_leaves_no_open_pipe() -> None:
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        Mailbox().wake()
    assert len(os.listdir("/dev/fd")) <= before + 2
