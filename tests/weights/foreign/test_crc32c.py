"""CRC-32C against its definition, bit by bit, and the published check values."""

import numpy as np
import pytest

from groundup.weights.foreign.crc32c import crc32c, mask


def bit_by_bit(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720, B.4, and the value every catalogue of checksums gives.
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"", 0),
    ],
)
def test_published_values(data, expected):
    assert crc32c(np.frombuffer(data, np.uint8)) == expected


@pytest.mark.parametrize("length", [1, 4095, 4096, 4097, 8192, 12345, 70_001])
def test_any_length_and_any_beginning(length):
    data = np.random.default_rng(length).integers(0, 256, length + 3, dtype=np.uint8)
    for start in (0, 3):
        part = data[start : start + length]
        assert crc32c(part) == bit_by_bit(part.tobytes())


def test_masked_as_tensorflow_stores_it():
    # LevelDB's util/crc32c.h: turn right by 15 bits and add a constant.
    assert mask(0) == 0xA282EAD8
    assert mask(1) == 0xA282EAD8 + (1 << 17)
    assert mask(0xFFFFFFFF) == 0xA282EAD7
