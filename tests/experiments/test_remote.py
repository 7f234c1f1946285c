"""Pinned: what an actor raised on purpose arrives as it was raised, in one line, not as Ray's traceback of it."""

from __future__ import annotations

from ray.exceptions import RayTaskError

from olal.errors import EngineFailed
from olal.experiments.remote import translated


def test_an_error_of_an_actor_arrives_in_one_line():
    raised = RayTaskError("work", "Traceback\n of\n many lines", EngineFailed("the engine failed"))
    error = translated(raised.as_instanceof_cause())
    assert type(error) is EngineFailed
    assert str(error) == "the engine failed"
