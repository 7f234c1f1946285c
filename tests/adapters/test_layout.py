"""Pinned: split and join are inverse; the digest changes with every value, name and shape; what does not fit raises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from olal.adapters import AdapterLayout
from olal.errors import AdapterMismatch

Flat = NDArray[np.float32]


def test_split_gives_named_views_in_order(layout: AdapterLayout, flat: Flat) -> None:
    tensors = layout.split(flat)

    assert list(tensors) == list(layout.names)
    assert [tensor.shape for tensor in tensors.values()] == list(layout.shapes)
    assert np.concatenate([tensor.ravel() for tensor in tensors.values()]).tolist() == flat.tolist()
    assert all(np.shares_memory(tensor, flat) for tensor in tensors.values())


def test_join_is_the_inverse_of_split(layout: AdapterLayout, flat: Flat) -> None:
    tensors = layout.split(flat)
    shuffled = dict(reversed(tensors.items()))

    assert layout.join(shuffled).tobytes() == flat.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("m.q.lora_A.weight"),
        lambda tensors: tensors.update(extra=np.zeros(1, np.float32)),
        lambda tensors: tensors.update({"m.q.lora_A.weight": np.zeros((3, 2), np.float32)}),
    ],
    ids=["missing", "left over", "other shape"],
)
def test_tensors_of_another_adapter_do_not_join(layout: AdapterLayout, flat: Flat, change) -> None:
    tensors = layout.split(flat)
    change(tensors)

    with pytest.raises(AdapterMismatch, match=r"extra|m\.q\.lora_A"):
        layout.join(tensors)


@pytest.mark.parametrize("wrong", [np.zeros(23, np.float32), np.zeros(24, np.float64), np.zeros((24, 1), np.float32)])
def test_a_vector_of_another_size_or_dtype_is_refused(layout: AdapterLayout, wrong) -> None:
    for use in (layout.check, layout.split, layout.digest):
        with pytest.raises(AdapterMismatch, match=r"shape \(24,\)"):
            use(wrong)


def test_every_value_counts_in_the_digest(layout: AdapterLayout, flat: Flat) -> None:
    digests = {layout.digest(flat)}
    for i in range(len(flat)):
        changed = flat.copy()
        changed[i] = np.nextafter(changed[i], np.float32(100))
        digests.add(layout.digest(changed))

    assert len(digests) == len(flat) + 1
    assert layout.digest(flat.copy()) == layout.digest(flat)


def test_names_and_shapes_count_in_the_digest(layout: AdapterLayout, flat: Flat) -> None:
    renamed = replace(layout, names=(*layout.names[:2], "m.w.lora_A.weight"))
    swapped = replace(layout, names=(layout.names[1], layout.names[0], layout.names[2]))
    reshaped = replace(layout, shapes=((3, 2), (4, 2), (2, 5)))

    assert len({one.digest(flat) for one in (layout, renamed, swapped, reshaped)}) == 4


def test_a_view_has_the_digest_of_its_values(layout: AdapterLayout, flat: Flat) -> None:
    spread = np.zeros(2 * len(flat), np.float32)
    spread[::2] = flat

    assert layout.digest(spread[::2]) == layout.digest(flat)
