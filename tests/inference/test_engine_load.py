"""Pinned: an engine says how many requests run and wait, and what part of its memory the running ones hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from olal.grammar import regex_grammar
from olal.inference import Engine
from olal.types import EngineLoad

LETTERS = regex_grammar("[a-z]{40}")


def test_nothing_to_do_is_no_load(engine: Engine) -> None:
    assert engine.load() == EngineLoad(0, 0, 0.0, engine.load().num_preempted)


def test_requests_wait_until_a_step_takes_them(engine: Engine, ask: Callable[..., Any]) -> None:
    for request in ask(LETTERS, seeds=(1, 2, 3)):
        engine.submit(request)
    assert (engine.load().num_running, engine.load().num_waiting) == (0, 3)

    engine.step()
    load = engine.load()
    while engine.num_unfinished:
        engine.step()

    assert (load.num_running, load.num_waiting) == (3, 0)
    assert 0 < load.kv_use < 0.5
    assert engine.load().num_running == 0
    assert engine.load().kv_use == 0.0


def test_a_full_batch_lets_the_rest_wait(make_engine: Callable[..., Engine], ask: Callable[..., Any]) -> None:
    engine = make_engine(max_batch=2)
    for request in ask(LETTERS, seeds=(1, 2, 3, 4, 5)):
        engine.submit(request)

    engine.step()

    assert (engine.load().num_running, engine.load().num_waiting) == (2, 3)
