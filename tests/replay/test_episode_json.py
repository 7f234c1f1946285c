"""Pinned: an episode written as a JSON line reads back equal; grammars are written once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from olal.replay import from_json, to_json
from olal.types import DraftStatistics, GrammarSpec, Trajectory

Episode = Callable[..., Trajectory]


def through_text(trajectory: Trajectory) -> Trajectory:
    return from_json(json.loads(json.dumps(to_json(trajectory), allow_nan=False)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"bootstrap": None, "terminated": True, "truncated": False, "success": True},
        {"success": False},
        {"turns": (), "bootstrap": None, "error": "broke", "failure": "data", "reason": "env_raised"},
        {"turns": ()},
    ],
    ids=["cut", "solved", "not solved", "failed", "cut at once"],
)
def test_what_is_written_reads_back_equal(episode: Episode, changes: dict[str, Any]) -> None:
    original = episode(7, **changes)

    restored = through_text(original)

    assert restored == original
    assert [turn.grammar.digest for turn in restored.turns] == [turn.grammar.digest for turn in original.turns]


def test_decisions_of_a_grammar_and_draft_statistics_are_kept(episode: Episode) -> None:
    first, second = episode().turns
    completion = replace(first.completion, delegated=(True, False), drafts=DraftStatistics((3, 2), (3, 1)))
    grammar = GrammarSpec(first.grammar.text, ("action", "steps.*.tool"))
    turns = (replace(first, completion=completion, grammar=grammar), second)
    original = episode(turns=turns, bootstrap=None, terminated=True, truncated=False)

    assert through_text(original) == original


def test_each_grammar_is_written_once(episode: Episode) -> None:
    turns = episode().turns * 5

    row = to_json(episode(turns=turns))

    assert len(row["turns"]) == 10
    assert row["grammars"] == {turn.grammar.digest: {"text": turn.grammar.text, "decisions": []} for turn in turns}


def test_a_line_tells_a_reader_what_was_done_and_earned(episode: Episode) -> None:
    row = to_json(episode())

    assert row["return"] == pytest.approx(-0.9)
    assert [(turn["action"], turn["reward"]) for turn in row["turns"]] == [("left ☃", 0.1), ("", -1.0)]
