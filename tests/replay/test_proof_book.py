"""Who may deliver.

Pinned: a worker's word counts only with the version, the digest and the probe that the learner published; a restarted
book still knows them; after a rewind a version of the former lineage counts no more.
"""

from __future__ import annotations

import math

import pytest

from olal.adapters import AdapterProof
from olal.metrics import JsonlWriter
from olal.replay import ProofBook

RIGHT = AdapterProof(3, "d3", -5.0)


def book(path=None) -> ProofBook:
    made = ProofBook(path, tolerance=1e-3)
    made.expect(AdapterProof(2, "d2", -4.0))
    made.expect(RIGHT)
    return made


def test_what_the_learner_published_is_believed():
    assert book().disagreement([RIGHT, AdapterProof(2, "d2", -4.0009)]) is None


@pytest.mark.parametrize(
    "wrong",
    [
        AdapterProof(3, "d2", -5.0),
        AdapterProof(3, "d3", -5.0011),
        AdapterProof(3, "d3", math.nan),
        AdapterProof(2, "d3", -5.0),
    ],
)
def test_any_other_word_is_not(wrong):
    found = book().disagreement([RIGHT, wrong])
    assert found is not None
    assert found[0] == wrong


def test_an_unknown_version_is_not_believed():
    assert book().disagreement([AdapterProof(4, "d4", -5.0)]) == (AdapterProof(4, "d4", -5.0), None)


def test_a_restarted_book_knows_what_was_published(tmp_path):
    book(tmp_path / "adapters.jsonl").close()
    again = ProofBook(tmp_path / "adapters.jsonl", tolerance=1e-3)
    assert again.disagreement([RIGHT]) is None
    assert again.disagreement([AdapterProof(3, "x", -5.0)]) is not None
    again.close()


def test_what_a_full_disk_does_not_take_is_written_once_it_does(tmp_path, monkeypatch):
    made = book(tmp_path / "adapters.jsonl")
    with monkeypatch.context() as full:
        full.setattr(JsonlWriter, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        made.expect(AdapterProof(4, "d4", -6.0))
        assert "No space left" in made.trouble
        assert made.disagreement([AdapterProof(4, "d4", -6.0)]) is None
    made.expect(AdapterProof(5, "d5", -7.0))
    made.close()
    assert made.trouble == ""
    again = ProofBook(tmp_path / "adapters.jsonl", tolerance=1e-3)
    assert again.disagreement([AdapterProof(4, "d4", -6.0), AdapterProof(5, "d5", -7.0)]) is None
    again.close()


def test_after_a_rewind_the_former_versions_count_no_more():
    made = book()
    kept = AdapterProof(2, "d2", -4.0)
    made.expect(kept)
    made.rewind(2)
    assert made.disagreement([kept]) is None
    assert made.disagreement([RIGHT]) == (RIGHT, None)
    assert not kept.agrees_with(AdapterProof(1, "d2", -4.0), tolerance=1e-3)
    made.expect(AdapterProof(3, "other", -6.0))
    assert made.disagreement([AdapterProof(3, "other", -6.0)]) is None
