"""CRC-32C (Castagnoli), the checksum that TensorFlow keeps of every tensor and of every block of names.

Read byte by byte it is a loop of one table look-up each, which Python takes minutes for on a model. Here 1024 stretches
of the data go side by side through the same loop, as one NumPy operation, and their results are joined at the end.
"""

from functools import cache

import numpy as np

POLYNOMIAL = 0x82F63B78
"""Of degree 32, reflected: its lowest power is the highest bit."""

LANES = 1024


def crc32c(data: np.ndarray) -> int:
    """The checksum of a vector of bytes.

    crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283
    """
    by_byte, low, high = _tables()
    n_before = len(data) % (4 * LANES)
    state = 0xFFFFFFFF
    for byte in data[:n_before].tobytes():
        state = int(by_byte[(state ^ byte) & 0xFF]) ^ state >> 8

    if n_before == len(data):
        return state ^ 0xFFFFFFFF
    words = data[n_before:].view("<u4").reshape(LANES, -1)
    states = np.zeros(LANES, np.uint32)
    states[0] = state
    for start in range(0, words.shape[1], 64):
        for column in np.ascontiguousarray(words[:, start : start + 64].T):
            states ^= column
            states = low[states & 0xFFFF] ^ high[states >> 16]
    return _joined(states, 4 * words.shape[1]) ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """What is stored for a checksum: turned and shifted, so that data with checksums in it has good ones too."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _joined(states: np.ndarray, n_bytes: int) -> int:
    """One register from those of equal stretches of n_bytes: what the left one was, `n_bytes` of zeros later, and the
    right one, since the checksum of a sum (XOR) is the sum of the checksums."""
    shift = _shift(n_bytes)
    while len(states) > 1:
        states = _apply(shift, states[0::2]) ^ states[1::2]
        shift = _apply(shift, shift)
    return int(states[0])


@cache
def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What becomes of a byte, and of the low and the high half of a word, once it has passed through the register."""
    by_byte = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        by_byte = by_byte >> 1 ^ np.where(by_byte & 1, np.uint32(POLYNOMIAL), np.uint32(0))
    halves = np.arange(1 << 16, dtype=np.uint32), np.arange(1 << 16, dtype=np.uint32) << 16
    low, high = (_through(by_byte, half, 4) for half in halves)
    return by_byte, low, high


def _through(by_byte: np.ndarray, states: np.ndarray, n_bytes: int) -> np.ndarray:
    for _ in range(n_bytes):
        states = by_byte[states & 0xFF] ^ states >> 8
    return states


def _shift(n_bytes: int) -> np.ndarray:
    """What `n_bytes` of zeros do to a register: where each of its 32 bits goes, so a matrix over two numbers."""
    power = _through(_tables()[0], np.uint32(1) << np.arange(32, dtype=np.uint32), 1)
    shift = np.uint32(1) << np.arange(32, dtype=np.uint32)
    while n_bytes:
        if n_bytes & 1:
            shift = _apply(power, shift)
        power = _apply(power, power)
        n_bytes >>= 1
    return shift


def _apply(matrix: np.ndarray, states: np.ndarray) -> np.ndarray:
    moved = np.zeros_like(states)
    for bit, goes_to in enumerate(matrix):
        moved ^= np.where(states >> np.uint32(bit) & np.uint32(1), goes_to, np.uint32(0))
    return moved
