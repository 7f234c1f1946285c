"""A whole adapter as bytes: where a seed log goes on after versions that were not made from seeds.

    offset  bytes
    0       8     eight bytes of 255, where a delta has its version
    8       8     version, unsigned
    16      8     n, the number of weights
    24      8     digest of the adapter
    32      8     zero
    40      4     crc32 of the 40 bytes before
    44      4 n   the weights, float32
    44+4n   4     crc32 of the weights

Everything is little-endian, and the head is as long as that of a delta.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from olal.types import AdapterUpdate

SNAPSHOT_MAGIC = b"\xff" * 8
_HEAD = struct.Struct("<8sQQ8s8x")
_CRC = struct.Struct("<I")


def encode_snapshot(update: AdapterUpdate) -> bytes:
    """The bytes of an adapter."""
    head = _HEAD.pack(SNAPSHOT_MAGIC, update.version, len(update.flat), bytes.fromhex(update.digest))
    weights = np.ascontiguousarray(update.flat, "<f4").tobytes()
    return head + _CRC.pack(zlib.crc32(head)) + weights + _CRC.pack(zlib.crc32(weights))


def decode_snapshot(data: bytes) -> AdapterUpdate:
    """The adapter of some bytes.

    Raises:
        ValueError: they are not a whole and undamaged snapshot.
    """
    if snapshot_length(data) != len(data):
        raise ValueError(f"a snapshot must have {snapshot_length(data)} bytes: {len(data)}")
    weights = data[_HEAD.size + _CRC.size : -_CRC.size]
    if _CRC.unpack(data[-_CRC.size :])[0] != zlib.crc32(weights):
        raise ValueError("the checksum of its weights is another one")
    _, version, _, digest = _HEAD.unpack_from(data)
    return AdapterUpdate(version, digest.hex(), np.frombuffer(weights, "<f4").astype(np.float32))


def snapshot_length(data: bytes) -> int:
    """Length in bytes of the snapshot that begins here.

    Raises:
        ValueError: this is no beginning of a snapshot.
    """
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(data[: _HEAD.size]):
        raise ValueError("the checksum of its beginning is another one")
    return _HEAD.size + 2 * _CRC.size + 4 * int(_HEAD.unpack_from(data)[2])
