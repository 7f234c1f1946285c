"""An AdapterDelta as bytes: what travels to the workers and what the seed log holds, 12 n + 48 bytes.

    offset  bytes
    0       8      version, unsigned
    8       4      n, the number of records
    12      4      share of the distance from the untrained adapter that is kept first, float32
    16      8      hash of the rules (`SeedSpace.digest`)
    24      8      digest of the adapter it starts from
    32      8      digest of the adapter it leads to
    40      4      crc32 of the 40 bytes before
    44      12 n   seed, unsigned, and coefficient, float32, of each record
    44+12n  4      crc32 of the records

Everything is little-endian.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from olal.errors import AdapterMismatch
from olal.types import RECORD, AdapterDelta

_HEAD = struct.Struct("<QIf8s8s8s")
_CRC = struct.Struct("<I")
HEAD_BYTES = _HEAD.size + _CRC.size
OVERHEAD_BYTES = HEAD_BYTES + _CRC.size


def encode_delta(delta: AdapterDelta) -> bytes:
    """The bytes of a delta."""
    digests = (bytes.fromhex(text) for text in (delta.space, delta.parent_digest, delta.digest))
    head = _HEAD.pack(delta.version, len(delta.records), delta.keep, *digests)
    records = np.ascontiguousarray(delta.records, RECORD).tobytes()
    return head + _CRC.pack(zlib.crc32(head)) + records + _CRC.pack(zlib.crc32(records))


def decode_delta(data: bytes) -> AdapterDelta:
    """The delta of some bytes.

    Raises:
        AdapterMismatch: they are not a whole and undamaged delta.
    """
    try:
        length = delta_length(data)
    except ValueError as error:
        raise AdapterMismatch(f"an adapter update arrived damaged: {error}") from error
    if length != len(data):
        raise AdapterMismatch(f"an adapter update must have {length} bytes: {len(data)}")
    records = data[HEAD_BYTES : -_CRC.size]
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(records):
        raise AdapterMismatch("an adapter update arrived damaged: the checksum of its records is another one")
    version, _, keep, space, parent, digest = _HEAD.unpack_from(data)
    return AdapterDelta(version, parent.hex(), digest.hex(), space.hex(), np.frombuffer(records, RECORD), keep)


def delta_length(data: bytes) -> int:
    """Length in bytes of the delta that begins here.

    Raises:
        ValueError: this is no beginning of a delta.
    """
    if len(data) < HEAD_BYTES:
        raise ValueError(f"a beginning needs {HEAD_BYTES} bytes: {len(data)}")
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        raise ValueError("the checksum of its beginning is another one")
    return OVERHEAD_BYTES + RECORD.itemsize * int(_HEAD.unpack_from(data)[1])
