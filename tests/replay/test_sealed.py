"""Pinned: a segment is sealed only when no rewind can need it; the Parquet file gives the same trajectories and is a
plain table to others; a kill at any moment of sealing leaves one whole file at least; a buffer reads either form.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from olal.errors import RunDirectoryInvalid
from olal.replay import Fifo, ReplayBuffer, pack, read_episodes, read_segment, segments_in
from olal.replay.sealed import seal
from olal.types import DraftStatistics, EpisodeTask, GrammarSpec, Perturbation, Trajectory

Episode = Callable[..., Trajectory]


def open_buffer(directory: Path) -> ReplayBuffer:
    return ReplayBuffer.open(directory, 100, 2**20, Fifo(), segment_episodes=4)


def all_kinds(episode: Episode) -> list[Trajectory]:
    """Episodes that differ in every optional field."""
    first, second = episode().turns
    completion = replace(first.completion, delegated=(True, False), drafts=DraftStatistics((3, 2), (3, 1)))
    grammar = GrammarSpec(first.grammar.text, ("action", "steps.*.tool"))
    moved = EpisodeTask(2, 5, 1, Perturbation(2**63 + 1, 0.01))
    whole = {"bootstrap": None, "terminated": True, "truncated": False}
    return [
        episode(0),
        episode(1, success=True, turns=(replace(first, completion=completion, grammar=grammar), second), **whole),
        replace(episode(2, success=False, turns=(replace(first, env_reward=0.5),)), task=moved),
        episode(3, turns=(), bootstrap=None, error="ValueError: broke\u2028here"),
    ]


def test_a_sealed_segment_gives_the_same_trajectories(episode: Episode, tmp_path: Path) -> None:
    played = all_kinds(episode)
    buffer = open_buffer(tmp_path)
    buffer.put([pack(one) for one in played], 0)
    path = tmp_path / "episodes" / "segment-000000.jsonl"
    assert read_segment(path) == played

    sealed = seal(path)

    assert read_segment(sealed) == read_episodes(tmp_path / "episodes") == played
    assert [other.name for other in (tmp_path / "episodes").iterdir()] == ["segment-000000.parquet"]
    assert seal(path) == sealed


def test_others_find_a_plain_table(episode: Episode, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([pack(one) for one in all_kinds(episode)], 0)

    table = pyarrow.parquet.read_table(seal(tmp_path / "episodes" / "segment-000000.jsonl"))

    assert table.column("episode_id").to_pylist() == [0, 1, 2, 3]
    assert table.column("episode_return").to_pylist() == pytest.approx([-0.9, -0.9, 0.1, 0.0])
    assert table.column("num_turns").to_pylist() == [2, 2, 1, 0]
    turns = table.schema.field("turns").type.value_type
    assert turns.field("token_ids").type == pyarrow.list_(pyarrow.int32())
    assert turns.field("forced").type == pyarrow.list_(pyarrow.bool_())


def test_numbers_that_are_not_finite_come_back_as_nan_from_either_form(episode: Episode, tmp_path: Path) -> None:
    first, _ = episode().turns
    completion = replace(first.completion, logprobs=(-math.inf, 0.0, -1.0))
    buffer = open_buffer(tmp_path)
    buffer.put([pack(episode(i, turns=(replace(first, reward=math.nan, completion=completion),))) for i in range(4)], 0)

    path = tmp_path / "episodes" / "segment-000000.jsonl"
    for part in (path, path.with_suffix(".parquet")):
        [turn] = read_segment(part)[0].turns
        assert math.isnan(turn.reward)
        assert math.isnan(turn.completion.logprobs[0])
        assert turn.completion.logprobs[1:] == (0.0, -1.0)
        seal(path)


def test_only_what_no_rewind_can_need_is_sealable(episode: Episode, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([pack(episode(i, adapter_version=0)) for i in range(4)], 0)
    buffer.put([pack(episode(i, adapter_version=0, error="broke" * (i > 4))) for i in range(4, 10)], 0)
    first, second = (tmp_path / "episodes" / f"segment-00000{i}.jsonl" for i in range(2))

    buffer.commit([0, 1, 2], 3)
    assert buffer.sealable(9) == []
    buffer.commit([3, 4], 4)
    assert (buffer.sealable(3), buffer.sealable(4)) == ([], [first, second])
    buffer.rewind(3, 10**9, 1)
    assert buffer.sealable(9) == []
    buffer.drop([3, 4], "stale")
    assert buffer.sealable(3) == [first, second]
    seal(first)
    assert buffer.sealable(3) == open_buffer(tmp_path).sealable(3) == [second]
    buffer.put([pack(episode(10, error="broke"))], 1)
    assert buffer.sealable(3) == [second]
    buffer.close_segment()
    assert buffer.sealable(3) == [second, second.with_name("segment-000002.jsonl")]


def test_a_line_of_a_forgotten_attempt_keeps_nothing_from_being_sealed(episode: Episode, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([pack(episode(i, adapter_version=0)) for i in range(4)], 0)
    buffer.commit([0, 1, 2], 1)
    buffer.rewind(1, 3, 1)
    buffer.put([pack(episode(3, adapter_version=1, worker=7))], 1)

    [path] = buffer.sealable(1)
    seal(path)

    assert [(one.task.episode_id, one.worker) for one in read_episodes(tmp_path / "episodes")] == [
        (0, 2), (1, 2), (2, 2), (3, 7),
    ]  # fmt: skip


def test_a_rewind_beyond_the_newest_checkpoint_reads_the_sealed_form(episode: Episode, tmp_path: Path) -> None:
    played = [episode(i, adapter_version=0) for i in range(4)]
    buffer = open_buffer(tmp_path)
    buffer.put([pack(one) for one in played], 0)
    buffer.commit(range(4), 1)
    seal(buffer.sealable(1)[0])

    buffer.rewind(0, 10**9, 1)

    assert [lent.unpack() for lent in buffer.lease(9, 0, 0)] == played
    assert [lent.unpack() for lent in open_buffer(tmp_path).lease(9, 0, 0)] == played


def test_a_sealed_segment_that_is_damaged_is_forgotten_not_fatal(episode: Episode, tmp_path: Path) -> None:
    buffer = open_buffer(tmp_path)
    buffer.put([pack(episode(i, adapter_version=0)) for i in range(5)], 0)
    buffer.commit(range(4), 1)
    assert buffer.sealable(1) == []
    buffer.commit([4], 1)
    seal(buffer.sealable(1)[0]).write_bytes(b"PAR1 no more")

    buffer.rewind(0, 10**9, 1)

    assert buffer.open_ids(5) == list(range(5))
    assert buffer.balance(5).is_balanced


@pytest.mark.parametrize("step", ["fsync", "rename", "unlink"])
def test_sealing_that_is_killed_can_be_done_again(
    step: str, episode: Episode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = [episode(i) for i in range(4)]
    buffer = open_buffer(tmp_path)
    buffer.put([pack(one) for one in played], 0)
    path = tmp_path / "episodes" / "segment-000000.jsonl"

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync" if step == "fsync" else f"pathlib.Path.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            seal(path)
    assert read_episodes(tmp_path / "episodes") == played

    seal(path)
    assert read_episodes(tmp_path / "episodes") == played
    assert [other.suffix for other in (tmp_path / "episodes").iterdir()] == [".parquet"]


def test_a_torn_last_line_is_left_out_and_a_damaged_one_named(episode: Episode, tmp_path: Path) -> None:
    path = tmp_path / "segment-000000.jsonl"
    lines = [pack(episode(i)).payload + b"\n" for i in range(2)]

    path.write_bytes(lines[0] + lines[1][:-9])
    assert read_segment(path) == [episode(0)]
    path.write_bytes(lines[0][:-9] + b"\n" + lines[1])
    with pytest.raises(RunDirectoryInvalid, match=r"jsonl:1$"):
        read_segment(path)
    path.write_bytes(lines[0] + b'{"turns": []}\n')
    with pytest.raises(RunDirectoryInvalid, match=r"not an episode of olal \(KeyError: 'grammars'\): .*jsonl:2$"):
        read_segment(path)
    assert list(segments_in(tmp_path)) == [0]
