"""seal and read_sealed: a segment whose episodes are settled, as a Parquet file with one row per episode.

The only door to pyarrow. `datasets.load_dataset("parquet", ...)`, DuckDB or pandas read the files as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

from olal.replay.append_file import sync_directory
from olal.replay.episode_json import read_json_lines

pa: Any = pyarrow  # it has no types
pq: Any = parquet
_IDS, _FLOATS, _FLAGS = pa.list_(pa.int32()), pa.list_(pa.float64()), pa.list_(pa.bool_())
_GRAMMAR = pa.struct([("digest", pa.string()), ("text", pa.string()), ("decisions", pa.list_(pa.string()))])
_TURN = pa.struct(
    [
        ("observation", pa.string()),
        ("action", pa.string()),
        ("reward", pa.float64()),
        ("env_reward", pa.float64()),
        ("grammar", pa.string()),
        ("prompt_token_ids", _IDS),
        ("token_ids", _IDS),
        ("logprobs", _FLOATS),
        ("forced", _FLAGS),
        ("log_legal_mass", _FLOATS),
        ("delegated", _FLAGS),
        ("adapter_version", pa.int64()),
        ("stop_reason", pa.string()),
        ("num_passes", pa.int32()),
        ("drafts", pa.struct([("proposed", _IDS), ("accepted", _IDS)])),
        ("error", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        ("episode_id", pa.int64()),
        ("seed", pa.int64()),
        ("group", pa.int64()),
        ("perturbation", pa.struct([("seed", pa.uint64()), ("coefficient", pa.float64())])),
        ("adapter_version", pa.int64()),
        ("adapter_digest", pa.string()),
        ("episode_return", pa.float64()),
        ("terminated", pa.bool_()),
        ("truncated", pa.bool_()),
        ("success", pa.bool_()),
        ("num_turns", pa.int32()),
        ("duration_s", pa.float64()),
        ("worker", pa.int32()),
        ("error", pa.string()),
        ("turns", pa.list_(_TURN)),
        ("grammars", pa.list_(_GRAMMAR)),
        ("bootstrap", pa.struct([("prompt_token_ids", _IDS), ("grammar", pa.string())])),
    ]
)
"""One row per episode; a turn's `grammar`, and the bootstrap's, is a digest among `grammars`."""

_COMPLETION = (
    "token_ids", "logprobs", "forced", "log_legal_mass", "delegated", "adapter_version", "stop_reason", "num_passes",
    "drafts", "error",
)  # fmt: skip
_ROWS_PER_GROUP = 128


def seal(path: Path) -> Path:
    """Turn a closed segment into Parquet: written beside, flushed to the disk, renamed, then the JSON lines removed.

    A plain function for any process; safe to repeat after a kill at any moment.

    Args:
        path: `segment-000000.jsonl`.

    Returns:
        `segment-000000.parquet`.

    Raises:
        RunDirectoryInvalid: a line other than the last is no JSON object.
        OSError: the disk is full or the file cannot be read; the JSON lines are still there.
    """
    target, beside = path.with_suffix(".parquet"), path.with_suffix(".parquet.part")
    if not path.exists() and target.exists():
        return target
    with beside.open("wb") as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for rows in _chunks(read_json_lines(path)):
                writer.write_table(pa.Table.from_pylist([_to_arrow(row) for row in rows], SCHEMA))
        file.flush()
        os.fsync(file.fileno())
    beside.rename(target)
    sync_directory(path.parent)
    path.unlink()
    return target


def seal_all(paths: Sequence[Path]) -> list[Path]:
    """`seal` one segment after the other; the first that cannot be sealed ends it."""
    return [seal(path) for path in paths]


def read_sealed(path: Path) -> Iterator[dict[str, Any]]:
    """Episodes of a sealed segment, as `to_json` writes them.

    Raises:
        OSError: it cannot be read.
    """
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_ROWS_PER_GROUP):
            for row in batch.to_pylist():
                yield _from_arrow(row)


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_PER_GROUP:
            yield chunk
            chunk = []
    yield chunk


def _to_arrow(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row.get(name) for name in SCHEMA.names},
        "episode_return": row["return"],
        "num_turns": len(row["turns"]),
        "turns": [{**turn, **{name: turn["completion"].get(name) for name in _COMPLETION}} for turn in row["turns"]],
        "grammars": [{"digest": digest, **grammar} for digest, grammar in row["grammars"].items()],
    }


def _from_arrow(row: dict[str, Any]) -> dict[str, Any]:
    turns = row["turns"]
    for turn in turns:
        completion = {name: turn.pop(name) for name in _COMPLETION}
        turn["completion"] = {"text": turn["action"], **completion}
    row["return"] = row.pop("episode_return")
    row["grammars"] = {grammar.pop("digest"): grammar for grammar in row["grammars"]}
    del row["num_turns"]
    return row
