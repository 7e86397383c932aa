"""TFRecord files of tf.train.Example, written without TensorFlow, whose import costs seconds.

Record: uint64 length, masked CRC-32C of the length, data, masked CRC-32C of the data, all little
endian (tensorflow/core/lib/io/record_writer.h). Example: protocol buffers' wire format for
tensorflow/core/example/{example,feature}.proto, features in the order of their names, so that
equal features give equal bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO, Union

import numpy as np

Feature = Union[Sequence[bytes], Sequence[int], np.ndarray]
"""bytes_list: a sequence of bytes; int64_list: a sequence of int; float_list: a float32 array."""

_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed
_LANES = 1024


def write_record(file: BinaryIO, data: bytes) -> None:
    """Append one record to ``file``."""
    length = struct.pack("<Q", len(data))
    file.write(length + struct.pack("<I", _masked(crc32c(length))))
    file.write(data)
    file.write(struct.pack("<I", _masked(crc32c(data))))


def example(features: Mapping[str, Feature]) -> bytes:
    """A serialised tf.train.Example."""
    entries = []
    for name in sorted(features):
        key = _field(1, name.encode())
        entries.append(_field(1, key + _field(2, _feature(features[name]))))
    return _field(1, b"".join(entries))


def crc32c(data: bytes) -> int:
    """CRC-32C (RFC 3720, appendix B.4) of ``data``.

    The checksum is linear over the bits, so the data is cut into lanes that NumPy runs side by
    side; then neighbouring lanes are joined, the left one shifted by the length of the right one.
    """
    if len(data) < 4 * _LANES:
        state = 0xFFFFFFFF
        bytewise = _byte_table_as_list()
        for byte in data:
            state = bytewise[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    steps = -(-len(data) // _LANES)
    # Zeros in front leave a state of zero as it is. The initial value of all ones is the same as
    # starting from zero with the first four bytes inverted.
    padding = steps * _LANES - len(data)
    block = np.zeros(steps * _LANES, np.uint8)
    block[padding:] = np.frombuffer(data, np.uint8)
    block[padding : padding + 4] ^= 0xFF
    columns = np.ascontiguousarray(block.reshape(_LANES, steps).T)
    table = _byte_table()
    states = np.zeros(_LANES, np.uint32)
    for column in columns:
        states = table[(states ^ column) & 0xFF] ^ (states >> 8)
    shift = _shift(steps)
    while len(states) > 1:
        states = _apply(shift, states[0::2]) ^ states[1::2]
        shift = _apply(shift, shift)
    return int(states[0]) ^ 0xFFFFFFFF


def _masked(crc: int) -> int:
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def _byte_table() -> np.ndarray:
    states = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        states = (states >> 1) ^ np.where(states & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    return states


@lru_cache(maxsize=1)
def _byte_table_as_list() -> list[int]:
    return _byte_table().tolist()


@lru_cache(maxsize=64)
def _shift(count: int) -> np.ndarray:
    """What ``count`` zero bytes do to a state: uint32 [32], the image of each bit."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if count == 0:
        return bits
    half = _shift(count // 2)
    whole = _apply(half, half)
    if count % 2:
        whole = _byte_table()[whole & 0xFF] ^ (whole >> 8)
    return whole


def _apply(operator: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The linear ``operator`` (uint32 [32]) on each of ``states``."""
    bits = (states[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(bits * operator, axis=1)


def _feature(values: Feature) -> bytes:
    if len(values) == 0:
        return b""  # no kind at all: readers take it as empty, whatever kind they expect
    if isinstance(values, np.ndarray):
        return _field(2, _field(1, np.asarray(values, "<f4").tobytes()))
    texts = [value for value in values if isinstance(value, bytes)]
    if texts:
        return _field(1, b"".join(_field(1, text) for text in texts))
    numbers = (_varint(value) for value in values if isinstance(value, int))
    return _field(3, _field(1, b"".join(numbers)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """``value`` from 0 in groups of seven bits, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
