"""Pinned: a worker that has the parent fetches nothing; one that is a few versions late fetches the tail, one that is
many late snapshot and tail; a digest that does not match is counted, said, and mended from the snapshot; where even
that does not help, it is an error.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from olal.adapters import (
    AdapterFollower,
    AdapterLayout,
    AdapterProof,
    AdapterPublisher,
    FollowerCounts,
    Publication,
    SeedMaster,
    SeedSpace,
)
from olal.errors import AdapterMismatch
from olal.types import AdapterUpdate, Perturbation

LAYOUT = AdapterLayout(("m.q.lora_A.weight", "m.q.lora_B.weight"), ((2, 30), (40, 2)))
ANCHOR = np.linspace(-1, 1, 140).astype(np.float32)


class Line:
    """A learner that publishes into a store, and what its workers fetch from there."""

    def __init__(self, *, snapshot_every: int = 4, space: SeedSpace | None = None) -> None:
        self.master = SeedMaster(space or SeedSpace(LAYOUT, ANCHOR))
        self.store: list[Any] = []
        self.fetched: list[int] = []
        self.publisher: AdapterPublisher[int] = AdapterPublisher(self.put, snapshot_every=snapshot_every)
        self.published = self.publisher.publish(self.master.current(), None)
        self.random = np.random.default_rng(0)

    def put(self, thing: Any) -> int:
        self.store.append(thing)
        return len(self.store) - 1

    def fetch(self, reference: int) -> Any:
        self.fetched.append(reference)
        return self.store[reference]

    def advance(self, versions: int = 1) -> None:
        for _ in range(versions):
            self.master.begin(keep=0.99)
            self.master.move(self.random.integers(0, 2**64, 3, dtype=np.uint64), self.random.standard_normal(3))
            delta = self.master.commit()
            self.published = self.publisher.publish(self.master.current(), delta)

    def kinds_fetched(self) -> str:
        kinds = "".join("s" if isinstance(self.store[i], AdapterUpdate) else "t" for i in self.fetched)
        self.fetched.clear()
        return kinds


def worker(kind: Any = "full") -> AdapterFollower:
    return AdapterFollower(SeedSpace(LAYOUT, ANCHOR, subspace=kind))


def test_a_worker_that_keeps_up_fetches_nothing() -> None:
    line, follower = Line(), worker()
    for version in range(1, 12):
        line.advance()

        loaded = follower.load(line.published, line.fetch)

        assert (loaded.version, loaded.digest) == (version, line.master.digest)
        assert loaded.flat.tobytes() == line.master.flat.tobytes()
        assert line.kinds_fetched() == ""
    assert follower.counts == FollowerCounts(rebuilt=11, num_bytes=11 * (36 + 48))
    assert line.publisher.num_bytes == 36 + 48


@pytest.mark.parametrize("versions", range(2, 12))
def test_a_late_worker_takes_the_tail_and_a_snapshot_where_that_does_not_reach_back(versions: int) -> None:
    line, follower = Line(snapshot_every=4), worker()
    line.advance(versions)

    loaded = follower.load(line.published, line.fetch)

    assert (loaded.version, loaded.digest) == (versions, line.master.digest)
    is_near = versions <= 4
    assert line.kinds_fetched() == ("t" if is_near else "ts")
    assert follower.counts.rebuilt == (versions if is_near else versions % 4)


def test_a_worker_that_missed_versions_catches_up_and_then_keeps_up() -> None:
    line, follower = Line(), worker()
    for step in (1, 3, 1, 1, 9, 1):
        line.advance(step)
        assert follower.load(line.published, line.fetch).digest == line.master.digest

    assert follower.counts.snapshots == 1


def test_what_is_there_already_is_not_fetched_again() -> None:
    line, follower = Line(), worker()
    line.advance()
    follower.load(line.published, line.fetch)
    line.kinds_fetched()

    follower.load(line.published, line.fetch)

    assert line.kinds_fetched() == ""
    assert follower.counts.rebuilt == 1


def test_a_worker_whose_adapter_was_altered_says_so_and_takes_the_snapshot(caplog: pytest.LogCaptureFixture) -> None:
    line, follower = Line(), worker()
    line.advance()
    follower.load(line.published, line.fetch)
    altered = follower.present.flat.copy()
    altered[17] += 1
    follower.present = replace(follower.present, flat=altered)
    line.advance()

    with caplog.at_level(logging.WARNING):
        loaded = follower.load(line.published, line.fetch)

    assert loaded.digest == line.master.digest
    assert LAYOUT.digest(loaded.flat) == line.master.digest
    assert (follower.counts.mismatches, follower.counts.snapshots) == (1, 1)
    assert "taking a snapshot" in caplog.text
    assert f"must have digest {line.master.digest}" in caplog.text


def test_a_worker_with_other_rules_refuses(caplog: pytest.LogCaptureFixture) -> None:
    line, follower = Line(), AdapterFollower(SeedSpace(LAYOUT, ANCHOR, base="another model"))
    line.advance()

    with caplog.at_level(logging.WARNING), pytest.raises(AdapterMismatch, match="same model, adapter settings"):
        follower.load(line.published, line.fetch)

    assert follower.counts.mismatches == 1


def test_an_update_that_moves_nothing_is_a_version_of_its_own() -> None:
    line, follower = Line(), worker()
    line.advance()
    follower.load(line.published, line.fetch)
    line.master.begin()
    line.published = line.publisher.publish(line.master.current(), line.master.commit())

    assert follower.load(line.published, line.fetch).version == 2
    assert line.kinds_fetched() == ""


def test_after_a_learner_went_back_its_former_deltas_lead_nobody_astray() -> None:
    line, late = Line(), worker()
    line.advance()
    late.load(line.published, line.fetch)
    state = line.master.version, line.master.flat
    line.advance(2)
    line.master.restore(*state)
    line.published = line.publisher.publish(line.master.current(), None)
    line.advance(2)
    line.kinds_fetched()

    assert late.load(line.published, line.fetch).digest == line.master.digest
    assert line.kinds_fetched() == "t"
    assert (late.counts.mismatches, late.counts.snapshots) == (0, 0)


def test_who_is_sent_the_newest_delta_alone_follows_it_or_stays_where_it_is() -> None:
    line, near, far = Line(), worker(), worker()
    line.advance()
    near.load(line.published, line.fetch)
    line.advance()
    sent = Publication(AdapterProof(2, line.master.digest, 0.0), line.published).to(
        AdapterProof(1, near.present.digest, 0.0)
    )

    whole = Publication(sent.proof, line.published)
    assert whole.to(AdapterProof(2, "another", 0.0)) is whole
    assert whole.to(AdapterProof(0, far.present.digest, 0.0)) is whole
    assert near.load(sent.references, line.fetch).digest == line.master.digest
    assert far.load(sent.references, line.fetch).version == 0
    assert sent.to(sent.proof).references == ()
    assert near.load((), line.fetch).version == 2
    assert line.kinds_fetched() == ""


def test_an_altered_snapshot_is_refused() -> None:
    line, follower = Line(), worker()
    line.advance(5)
    [place] = [i for i in line.published if isinstance(i, int) and isinstance(line.store[i], AdapterUpdate)]
    line.store[place] = replace(line.store[place], flat=ANCHOR * 2)

    with pytest.raises(AdapterMismatch, match="must have digest"):
        follower.load(line.published, line.fetch)


def test_an_older_version_can_be_loaded_again() -> None:
    line, follower = Line(), worker()
    start = line.published
    line.advance(3)
    follower.load(line.published, line.fetch)

    loaded = follower.load(start, line.fetch)

    assert (loaded.version, loaded.digest) == (0, follower.space.anchor_digest)


def test_whole_adapters_alone_are_published_where_that_is_asked_for() -> None:
    line, follower = Line(snapshot_every=1), worker()
    line.advance(2)

    loaded = follower.load(line.published, line.fetch)

    assert line.kinds_fetched() == "s"
    assert loaded.digest == line.master.digest
    assert line.publisher.num_bytes == 140 * 4


def test_a_member_is_the_present_adapter_and_one_record() -> None:
    line, follower = Line(), worker()
    line.advance()
    follower.load(line.published, line.fetch)
    step = np.float32(0.05)

    plus, minus = (follower.member(Perturbation(11, float(sign * step))) for sign in (1, -1))

    signs = follower.space.subspace.direction(11, 0, 140)
    assert np.array_equal(plus.flat, line.master.flat + step * signs)
    assert np.array_equal(minus.flat, line.master.flat - step * signs)
    assert plus.digest == LAYOUT.digest(plus.flat) != minus.digest
    assert follower.present.digest == line.master.digest


def test_a_stage_in_another_subspace_is_followed_and_so_is_one_without_seeds() -> None:
    line, follower = Line(space=SeedSpace(LAYOUT, ANCHOR, subspace="core")), worker("b")
    line.advance(2)
    follower.load(line.published, line.fetch)
    line.master.space = line.master.space.within("full")
    line.advance()
    assert follower.load(line.published, line.fetch).digest == line.master.digest

    line.master.restore(4, 2 * line.master.flat)
    line.published = line.publisher.publish(line.master.current(), None)
    assert follower.load(line.published, line.fetch).digest == line.master.digest
    line.fetched.clear()
    line.advance()

    assert follower.load(line.published, line.fetch).digest == line.master.digest
    assert line.kinds_fetched() == ""
    assert follower.counts.mismatches == 0
