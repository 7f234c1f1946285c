"""Pinned: applying records is the float32 arithmetic written out here, element by element; chunks, threads, processes
and devices change no bit, the order of records does; decay goes towards the untrained adapter; members are what one
record makes.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from olal.adapters import AdapterLayout, Members, SeedMaster, SeedSpace, Subspace, make_records
from olal.errors import AdapterMismatch
from olal.types import RECORD

Flat = NDArray[np.float32]
BIG = AdapterLayout(("q.lora_A.weight", "q.lora_B.weight", "v.lora_B.weight"), ((4, 700), (900, 4), (257, 4)))
KINDS = ["full", "b", "core"]


def records(count: int, seed: int = 0) -> NDArray[Any]:
    random = np.random.default_rng(seed)
    return make_records(random.integers(0, 2**64, count, dtype=np.uint64), random.standard_normal(count) * 0.01)


def anchor(layout: AdapterLayout = BIG) -> Flat:
    return np.random.default_rng(5).standard_normal(layout.num_parameters).astype(np.float32)


def slowly(space: SeedSpace, flat: Flat, steps: NDArray[Any], keep: float) -> list[np.float32]:
    """Element by element, one rounded operation after the other."""
    moved = []
    whole = [space.subspace.direction(int(seed), 0, len(flat)) for seed in steps["seed"]]
    for i, (value, origin) in enumerate(zip(flat, space.anchor, strict=True)):
        if keep != 1:
            value = np.float32(np.float32(np.float32(value - origin) * np.float32(keep)) + origin)
        for step, direction in zip(steps, whole, strict=True):
            if direction[i]:
                value = np.float32(value + np.float32(step["coefficient"] * direction[i]))
        moved.append(value)
    return moved


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [1.0, 0.9])
def test_records_are_applied_by_the_rule(layout: AdapterLayout, flat: Flat, kind: Any, keep: float) -> None:
    space = SeedSpace(layout, anchor(layout), subspace=kind)

    moved = space.moved(flat, records(5), keep=keep)

    assert moved.tolist() == [float(value) for value in slowly(space, flat, records(5), keep)]
    assert moved.dtype == np.float32


@given(st.integers(1, 5000), st.integers(0, 12), st.sampled_from(KINDS), st.sampled_from([1.0, 0.75]))
def test_the_size_of_chunks_changes_no_bit(chunk: int, count: int, kind: Any, keep: float) -> None:
    space = SeedSpace(BIG, anchor(), subspace=kind)
    flat = np.random.default_rng(1).standard_normal(BIG.num_parameters).astype(np.float32)

    whole = space.moved(flat, records(count), keep=keep)

    assert space.moved(flat, records(count), keep=keep, chunk=chunk).tobytes() == whole.tobytes()


@given(st.lists(st.integers(0, 9), max_size=4))
def test_records_may_come_in_portions(cuts: list[int]) -> None:
    space, edges = SeedSpace(BIG, anchor()), [0, *sorted(cuts), 9]
    flat = space.anchor
    for start, stop in itertools.pairwise(edges):
        flat = space.moved(flat, records(9)[start:stop])

    assert flat.tobytes() == space.moved(space.anchor, records(9)).tobytes()


def test_the_order_of_records_counts() -> None:
    space = SeedSpace(BIG, anchor())

    forwards, backwards = (space.moved(space.anchor, steps) for steps in (records(40), records(40)[::-1]))

    assert BIG.digest(forwards) != BIG.digest(backwards)
    assert np.allclose(forwards, backwards, atol=1e-6)


def test_what_is_given_stays_as_it_is(flat: Flat, layout: AdapterLayout) -> None:
    space, before = SeedSpace(layout, anchor(layout)), flat.copy()
    flat.flags.writeable = False

    space.moved(flat, records(3), keep=0.5)

    assert np.array_equal(flat, before)


ELSEWHERE = """
import sys
import numpy as np
from olal.adapters import AdapterLayout, SeedSpace, make_records
layout = AdapterLayout(("q.lora_A.weight", "q.lora_B.weight", "v.lora_B.weight"), ((4, 700), (900, 4), (257, 4)))
anchor = np.random.default_rng(5).standard_normal(layout.num_parameters).astype(np.float32)
random = np.random.default_rng(0)
steps = make_records(random.integers(0, 2**64, 30, dtype=np.uint64), random.standard_normal(30) * 0.01)
for kind in ("full", "b", "core"):
    space = SeedSpace(layout, anchor, subspace=kind)
    print(layout.digest(space.moved(anchor, steps, keep=0.9, chunk=int(sys.argv[1]))))
"""


@pytest.mark.parametrize(("threads", "chunk"), [(1, 100), (2, 1 << 20)])
def test_another_process_comes_to_the_same_digest(threads: int, chunk: int) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", ELSEWHERE, str(chunk)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    here = [BIG.digest(SeedSpace(BIG, anchor(), subspace=k).moved(anchor(), records(30), keep=0.9)) for k in KINDS]
    assert done.stdout.split() == here


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_device_comes_to_the_same_bits(device: str) -> None:
    torch = pytest.importorskip("torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device at hand")
    space, steps = SeedSpace(BIG, anchor()), records(30)

    flat, origin = (torch.from_numpy(anchor()).to(device) for _ in range(2))
    flat = (flat * 1.5 - origin) * 0.9 + origin
    for step in steps:
        direction = torch.from_numpy(space.subspace.direction(int(step["seed"]), 0, len(flat))).to(device)
        flat.add_(direction, alpha=float(step["coefficient"]))

    expected = space.moved(anchor() * np.float32(1.5), steps, keep=0.9)
    assert flat.cpu().numpy().tobytes() == expected.tobytes()


def test_everything_that_records_mean_is_in_the_digest_of_the_rules(layout: AdapterLayout) -> None:
    renamed = replace(layout, names=("m.x.lora_A.weight", *layout.names[1:]))
    other = anchor(layout) + np.float32(1)
    spaces = [
        SeedSpace(layout, anchor(layout)),
        SeedSpace(layout, anchor(layout), base="another"),
        SeedSpace(layout, anchor(layout), subspace="b"),
        SeedSpace(layout, other),
        SeedSpace(renamed, anchor(layout)),
    ]

    assert len({space.digest for space in spaces}) == 5
    assert SeedSpace(layout, anchor(layout)).digest == spaces[0].digest


def test_an_adapter_of_another_size_is_refused(layout: AdapterLayout, flat: Flat) -> None:
    with pytest.raises(AdapterMismatch):
        SeedSpace(layout, anchor(layout)).moved(flat[:-1], records(1))


def test_b_leaves_a_alone_and_core_ties_the_rows_of_b() -> None:
    b, core = Subspace(BIG, "b"), Subspace(BIG, "core")
    first = BIG.split(b.direction(3, 0, BIG.num_parameters))
    second = BIG.split(core.direction(3, 0, BIG.num_parameters))

    assert not first["q.lora_A.weight"].any()
    assert not second["q.lora_A.weight"].any()
    assert set(np.unique(first["q.lora_B.weight"])) == {-1.0, 1.0}
    assert (b.num_free, core.num_free) == (4 * 1157, 2 * 16)
    for name in ("q.lora_B.weight", "v.lora_B.weight"):
        tied = second[name]
        ties = tied[:, :1] * tied[np.arange(len(tied)) % 4, :1]
        assert np.array_equal(tied, ties * tied[np.arange(len(tied)) % 4])
        assert abs(ties.mean()) < 0.2
        assert np.linalg.matrix_rank(np.stack([BIG.split(core.direction(s, 0, BIG.num_parameters))[name].ravel()
                                               for s in range(40)])) == 16  # fmt: skip


@given(st.sampled_from(KINDS), st.integers(0, 7000), st.integers(0, 400))
def test_any_slice_of_a_direction_is_that_of_the_whole(kind: Any, start: int, length: int) -> None:
    space, stop = Subspace(BIG, kind), min(start + length, BIG.num_parameters)
    start = min(start, stop)

    assert np.array_equal(space.direction(9, start, stop), space.direction(9, 0, BIG.num_parameters)[start:stop])


@given(st.sampled_from([1, 7, 999, 1 << 20]), st.sampled_from(KINDS))
def test_members_are_what_one_record_makes_of_the_adapter(block: int, kind: Any) -> None:
    space, steps = SeedSpace(BIG, anchor(), subspace=kind), records(6)
    members = Members(space, anchor(), steps, block_elements=block)
    wanted = np.stack([space.moved(anchor(), steps[i : i + 1]) for i in range(6)])

    for start, shape in zip(BIG.offsets, BIG.shapes, strict=True):
        stop = start + shape[0] * shape[1]
        assert np.array_equal(members.block(start, stop), wanted[:, start:stop])
    assert np.array_equal(members.part(2, 4).block(0, 100), wanted[2:4, :100])
    assert len(members.part(2, 4)) == 2


def test_members_hold_a_bounded_block_and_never_whole_adapters() -> None:
    members = Members(SeedSpace(BIG, anchor()), anchor(), records(8), block_elements=800)

    sizes = {members.block(start, start + 50).base.size for start in range(0, 6000, 50)}

    assert max(sizes) <= 800


def test_a_master_replays_from_what_it_committed() -> None:
    space = SeedSpace(BIG, anchor())
    master, flat, digests = SeedMaster(space), anchor(), [space.anchor_digest]
    deltas = []
    for update in range(3):
        master.begin(keep=0.99)
        for step in range(2):
            drawn = records(4, seed=10 * update + step)
            master.move(drawn["seed"], drawn["coefficient"].astype(np.float64) / 3)
        deltas.append(master.commit())

    for delta in deltas:
        assert delta.parent_digest == digests[-1]
        flat = space.moved(flat, delta.records, keep=delta.keep)
        digests.append(BIG.digest(flat))
    assert digests[1:] == [delta.digest for delta in deltas]
    assert master.current().digest == digests[-1]
    assert (deltas[-1].version, deltas[-1].records.dtype, len(deltas[-1].records)) == (3, RECORD, 8)


def test_decay_goes_the_stated_share_of_the_way_back(layout: AdapterLayout, flat: Flat) -> None:
    space = SeedSpace(layout, anchor(layout))

    moved = space.moved(flat, records(0), keep=0.25)

    assert moved == pytest.approx(space.anchor + 0.25 * (flat - space.anchor), rel=1e-5)
