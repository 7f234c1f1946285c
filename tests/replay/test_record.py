"""Pinned: what a worker packs the learner unpacks; a payload is one line of strict JSON whatever the texts hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from olal.replay import EpisodeRecord, Leased, pack, record_of, unpack
from olal.types import Trajectory

Episode = Callable[..., Trajectory]


def test_what_is_packed_is_unpacked_and_told_in_the_record(episode: Episode) -> None:
    original = episode(7, error="")

    record = pack(original)

    assert unpack(record) == original
    assert record_of(record.payload) == record
    assert replace(record, payload=b"") == EpisodeRecord(7, 4, 3, "abc", pytest.approx(-0.9), 2, "", b"")


def test_a_loan_carries_its_weight_to_the_trajectory(episode: Episode) -> None:
    assert Leased(pack(episode(7)), 0.25).unpack() == replace(episode(7), weight=0.25)


@pytest.mark.parametrize("text", ["a\u2028b\u0085c\n", "\ud800 half", "☃ \x00"])
def test_a_payload_is_one_line_of_utf8(text: str, episode: Episode) -> None:
    turn = replace(episode().turns[0], observation=text)

    payload = pack(episode(turns=(turn,))).payload

    assert b"\n" not in payload
    assert json.loads(payload)["turns"][0]["observation"] == text.replace("\ud800", "?")


def test_a_return_that_is_no_number_is_strict_json_and_comes_back_as_nan(episode: Episode) -> None:
    turn = replace(episode().turns[0], reward=math.inf)

    record = pack(episode(turns=(turn,)))

    assert b"Infinity" not in record.payload
    assert record.episode_return == math.inf
    assert math.isnan(record_of(record.payload).episode_return)
    assert math.isnan(unpack(record).turns[0].reward)
