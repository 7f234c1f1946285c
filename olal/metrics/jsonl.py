"""JSON lines: append-only records that survive a kill in the middle of a write.

A record is one line and one flush. The last line may be torn; the reader skips it and the next writer removes it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from olal.errors import RunDirectoryInvalid


def json_line(record: Mapping[str, Any]) -> str:
    """Write a record as one line of strict JSON; a number that is not finite becomes null, a path its text.

    >>> json_line({"version": 3, "loss": float("nan")})
    '{"version": 3, "loss": null}'
    """
    try:
        return json.dumps(record, allow_nan=False, ensure_ascii=False, default=_plain)
    except ValueError:
        return json.dumps(_finite(record), allow_nan=False, ensure_ascii=False, default=_plain)


class JsonlWriter:
    """Appends records to a file.

    For example:

        with JsonlWriter(path) as writer:
            writer.write({"version": 1, "mean_return": 0.5})
    """

    def __init__(self, path: Path) -> None:
        """Open the file for appending and cut off a line that a killed writer left torn.

        Args:
            path: the file; made if it does not exist.

        Raises:
            RunDirectoryInvalid: it cannot be written.
        """
        try:
            _mend_tail(path)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise RunDirectoryInvalid(f"cannot write ({error.strerror}): {path}") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record and flush it.

        Raises:
            OSError: the disk does not take it; the file is as it was.
        """
        end = os.fstat(self._file.fileno()).st_size
        try:
            line = (json_line(record) + "\n").encode("utf-8", "replace")
            while line:  # a disk that is nearly full takes a part
                line = line[os.write(self._file.fileno(), line) :]
        except OSError:
            os.ftruncate(self._file.fileno(), end)
            raise

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read every whole record of a file, oldest first.

    Args:
        path: the file; one that does not exist has no records.

    Raises:
        RunDirectoryInvalid: a line other than the last is no JSON object.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    while lines and not lines[-1]:
        lines.pop()
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        record = _parse(line)
        if record is not None:
            records.append(record)
        elif number < len(lines):
            raise RunDirectoryInvalid(f"every line but the last must be a JSON object: {path}:{number}")
    return records


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # also a torn UTF-8 sequence
        return None
    return cast("dict[str, Any]", record) if isinstance(record, dict) else None


def _mend_tail(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        content = file.read()
        tail = content.rpartition(b"\n")[2]
        if tail and _parse(tail) is not None:
            file.write(b"\n")
        elif tail:
            file.truncate(len(content) - len(tail))


def _finite(value: Any) -> Any:
    match value:
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(item) for key, item in cast("Mapping[str, Any]", value).items()}
        case str() | bytes():
            return value
        case Sequence():
            return [_finite(item) for item in cast("Sequence[Any]", value)]
        case _:
            return value


def _plain(value: Any) -> Any:
    """What json does not know: paths become text, numpy scalars numbers."""
    if isinstance(value, Path):
        return str(value)
    item = getattr(value, "item", None)
    if callable(item):
        return _finite(item())
    raise TypeError(f"a record holds plain values, not {type(value).__name__}: {value!r}")
