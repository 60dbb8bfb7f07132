"""Numbers packed in blocks, as GGUF files hold them: bytes to float32, and float32 to Q8_0, Q4_0, Q4_1, F16 and BF16.

A quantised tensor is a row of equal blocks. A block holds 32 or 256 numbers as small integers q, with what turns them
back into numbers: a scale d, in some types also a minimum m. The types named K ("super-blocks") cut 256 numbers into
groups whose own scales are small integers too.

Every layout is drawn above its function; sizes are in bytes, f16 means half precision, and all is little-endian. They
are those of ggml (https://github.com/ggml-org/ggml, ggml-common.h and ggml-quants.c). This file imports only numpy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# Dequantising goes through several temporary arrays, so it is done in stretches that stay in the processor's cache.
STRETCH = 1 << 16


class Block(NamedTuple):
    """How one type packs its numbers."""

    n_numbers: int
    n_bytes: int
    dequantise: Callable[[np.ndarray], np.ndarray]
    """uint8 (n, n_bytes) -> float32 (n, n_numbers)"""


def dequantise(raw: np.ndarray, dtype: str) -> np.ndarray:
    """uint8 (n * n_bytes,) -> float32 (n * n_numbers,); `dtype` is a key of BLOCKS."""
    block = BLOCKS[dtype]
    blocks = raw.reshape(-1, block.n_bytes)
    numbers = np.empty((len(blocks), block.n_numbers), np.float32)
    step = max(1, STRETCH // block.n_numbers)
    with np.errstate(invalid="ignore", over="ignore"):  # a damaged scale may be infinite; that is told by the values
        for start in range(0, len(blocks), step):
            numbers[start : start + step] = block.dequantise(blocks[start : start + step])
    return numbers.reshape(-1)


# --- pieces ---


def _cut(blocks: np.ndarray, *sizes: int) -> list[np.ndarray]:
    """The parts of each block, in their order; sizes in bytes."""
    return np.split(blocks, np.cumsum(sizes)[:-1], axis=1)


def _f16(part: np.ndarray) -> np.ndarray:
    """(n, 2 * k) bytes -> (n, k) float32"""
    return np.ascontiguousarray(part).view("<f2").astype(np.float32)


def _unpack(part: np.ndarray, bits: int, run: int) -> np.ndarray:
    """Integers of 1, 2 or 4 bits out of bytes, (n, k) -> (n, k * 8 // bits).

    Bytes stand in runs. A run gives first the lowest bits of each of its bytes, then the next ones, and so on; with
    bits=4, run=2 the bytes BA DC, written as hexadecimal digits, give A C B D.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(-1, 1)
    fields = (part.reshape(len(part), -1, 1, run) >> shifts) & np.uint8((1 << bits) - 1)
    return fields.reshape(len(part), -1)


def _grouped(q: np.ndarray, scale: np.ndarray, minimum: np.ndarray | None = None) -> np.ndarray:
    """scale * q - minimum, with one scale and one minimum for each group of a block: q (n, 256), scale (n, groups)."""
    numbers = q.reshape(*scale.shape, -1).astype(np.float32)
    numbers *= scale[:, :, None]
    if minimum is not None:
        numbers -= minimum[:, :, None]
    return numbers.reshape(len(q), -1)


# --- plain numbers: a block is one number ---


def _from_f32(blocks: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(blocks).view("<f4")


def _from_bf16(blocks: np.ndarray) -> np.ndarray:
    return widen_bf16(np.ascontiguousarray(blocks).view("<u2"))


def widen_bf16(bits: np.ndarray) -> np.ndarray:
    """BF16 as uint16 -> float32, exactly: it is a float32 without its lower half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def round_bf16(numbers: np.ndarray) -> np.ndarray:
    """float32 -> BF16 as uint16, to the nearest and of two equally near ones the even; NaN stays NaN."""
    flat = numbers.reshape(-1)
    rounded = np.empty(flat.shape, np.uint16)
    for start in range(0, len(flat), STRETCH):
        rounded[start : start + STRETCH] = _to_bf16(flat[start : start + STRETCH].astype(np.float32))
    return rounded.reshape(numbers.shape)


def _to_bf16(numbers: np.ndarray) -> np.ndarray:
    bits = numbers.view(np.uint32)
    # Adding just below one half of the last kept bit, and its own value, carries exactly where rounding goes up.
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> 16) & 1))) >> 16
    quiet_nan = (bits >> 16) | np.uint32(0x0040)
    return np.where((bits & 0x7FFF_FFFF) > 0x7F80_0000, quiet_nan, rounded)


def round_f16(numbers: np.ndarray) -> np.ndarray:
    """float32 -> float16, rounded likewise; from 65,520 on that is infinity, which a caller may want to refuse."""
    with np.errstate(over="ignore"):
        return np.asarray(numbers, np.float32).astype(np.float16)


# --- 32 numbers in a block ---

#   Q8_0   | d f16 | 32 x int8 q |                          34 bytes, number i = d * q[i]


def _from_q8_0(blocks: np.ndarray) -> np.ndarray:
    d, q = _cut(blocks, 2, 32)
    return _f16(d) * np.ascontiguousarray(q).view(np.int8)


def quantise_q8_0(numbers: np.ndarray) -> np.ndarray:
    """float32 (..., n) with n a multiple of 32 -> uint8 (..., n / 32 * 34).

    d is the largest magnitude of the block / 127, and q = number / d rounded, halves away from zero, as ggml does it.
    Raises ValueError if a number is not finite, or so large that d is not finite in f16.
    """
    return _in_blocks(numbers, "Q8_0", _to_q8_0)


def _in_blocks(numbers: np.ndarray, dtype: str, pack: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """float32 (..., n) by `pack`, which takes blocks (many, 32): uint8 (..., n / 32 * bytes of a block)."""
    if numbers.shape[-1] % 32:
        raise ValueError(f"a row of {numbers.shape[-1]} numbers cannot be {dtype}; valid lengths are multiples of 32")
    n_bytes = BLOCKS[dtype].n_bytes
    packed = np.empty((numbers.size // 32, n_bytes), np.uint8)
    blocks = numbers.reshape(-1, 32)
    for start in range(0, len(blocks), STRETCH // 32):
        packed[start : start + STRETCH // 32] = pack(blocks[start : start + STRETCH // 32].astype(np.float32))
    return packed.reshape(*numbers.shape[:-1], numbers.shape[-1] // 32 * n_bytes)


def _to_q8_0(blocks: np.ndarray) -> np.ndarray:
    d = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    d_f16 = round_f16(d)
    if not np.isfinite(d_f16).all():
        raise ValueError("there are numbers that are not finite, or too large for Q8_0; valid numbers are below 8.3e6")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1 / d
    inverse[np.isinf(inverse)] = 0  # a block of zeros, or of numbers that f16 cannot tell from zero
    magnitude = np.abs(blocks * inverse)
    whole = np.floor(magnitude)
    whole += magnitude - whole >= 0.5  # np.round would round 0.5 and 2.5 to even ones
    q = np.copysign(whole, blocks).astype(np.int8)
    return np.concatenate([d_f16.view(np.uint8), q.view(np.uint8)], axis=1)


#   Q4_0   | d f16 | 16 bytes of q |                        18 bytes, number i = d * (q[i] - 8)
#   Q4_1   | d f16 | m f16 | 16 bytes of q |                20 bytes, number i = d * q[i] + m
#
#   byte j of q:  high 4 bits: q[j + 16]   low 4 bits: q[j]


def _from_q4_0(blocks: np.ndarray) -> np.ndarray:
    d, q = _cut(blocks, 2, 16)
    return _f16(d) * (_unpack(q, bits=4, run=16).astype(np.int8) - np.int8(8))


def _from_q4_1(blocks: np.ndarray) -> np.ndarray:
    d, m, q = _cut(blocks, 2, 2, 16)
    return _f16(d) * _unpack(q, bits=4, run=16) + _f16(m)


def quantise_q4_0(numbers: np.ndarray) -> np.ndarray:
    """float32 (..., n) with n a multiple of 32 -> uint8 (..., n / 32 * 18).

    d is the number of largest magnitude / -8, so that this one is kept best, as ggml does it. ValueError as Q8_0.
    """
    return _in_blocks(numbers, "Q4_0", _to_q4_0)


def _to_q4_0(blocks: np.ndarray) -> np.ndarray:
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
    d = largest / np.float32(-8)
    d_f16 = round_f16(d)
    if not np.isfinite(d_f16).all():
        raise ValueError("there are numbers that are not finite, or too large for Q4_0; valid numbers are below 5.2e5")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1 / d
    inverse[np.isinf(inverse)] = 0
    q = np.minimum(15, (blocks * inverse + np.float32(8.5)).astype(np.int8)).astype(np.uint8)
    return np.concatenate([d_f16.view(np.uint8), q[:, :16] | q[:, 16:] << 4], axis=1)


def quantise_q4_1(numbers: np.ndarray) -> np.ndarray:
    """float32 (..., n) with n a multiple of 32 -> uint8 (..., n / 32 * 20).

    m is the smallest number, and d the distance to the largest / 15, as ggml does it. ValueError as Q8_0.
    """
    return _in_blocks(numbers, "Q4_1", _to_q4_1)


def _to_q4_1(blocks: np.ndarray) -> np.ndarray:
    m = blocks.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused below
        d = (blocks.max(axis=1, keepdims=True) - m) / np.float32(15)
    d_f16, m_f16 = round_f16(d), round_f16(m)
    if not (np.isfinite(d_f16).all() and np.isfinite(m_f16).all()):
        raise ValueError("there are numbers that are not finite, or too large for Q4_1; valid numbers are below 6.5e4")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1 / d
    inverse[np.isinf(inverse)] = 0
    q = np.minimum(15, ((blocks - m) * inverse + np.float32(0.5)).astype(np.int8)).astype(np.uint8)
    return np.concatenate([d_f16.view(np.uint8), m_f16.view(np.uint8), q[:, :16] | q[:, 16:] << 4], axis=1)


#   Q5_0   | d f16 | 4 bytes high | 16 bytes low |          22 bytes, number i = d * (q[i] - 16)
#   Q5_1   | d f16 | m f16 | 4 bytes high | 16 bytes low |  24 bytes, number i = d * q[i] + m
#
#   low holds the lower 4 bits of each q as in Q4_0; bit i of high, counted from the lowest, is the fifth of q[i]


def _five_bits(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return _unpack(low, bits=4, run=16) | _unpack(high, bits=1, run=1) << 4


def _from_q5_0(blocks: np.ndarray) -> np.ndarray:
    d, high, low = _cut(blocks, 2, 4, 16)
    return _f16(d) * (_five_bits(high, low).astype(np.int8) - np.int8(16))


def _from_q5_1(blocks: np.ndarray) -> np.ndarray:
    d, m, high, low = _cut(blocks, 2, 2, 4, 16)
    return _f16(d) * _five_bits(high, low) + _f16(m)


#   IQ4_NL | d f16 | 16 bytes of q |                        18 bytes, number i = d * LEVELS[q[i]], q as in Q4_0
#
#   16 levels, closer together around zero, where most weights lie

LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def _from_iq4_nl(blocks: np.ndarray) -> np.ndarray:
    d, q = _cut(blocks, 2, 16)
    return _f16(d) * LEVELS[_unpack(q, bits=4, run=16)]


# --- 256 numbers in a block ---

#   Q2_K   | 16 bytes of s | 64 bytes of q | d f16 | dm f16 |                     84 bytes
#
#   16 groups of 16 numbers; number = (d * scale) * q - dm * minimum
#   byte g of s:  high 4 bits: minimum of group g   low 4 bits: its scale
#   byte j of q, of the first 32 (which hold numbers 0 to 127; the others hold 128 to 255 likewise):
#       bits 7-6: q[j + 96]   5-4: q[j + 64]   3-2: q[j + 32]   1-0: q[j]


def _from_q2_k(blocks: np.ndarray) -> np.ndarray:
    s, q, d, dm = _cut(blocks, 16, 64, 2, 2)
    return _grouped(_unpack(q, bits=2, run=32), _f16(d) * (s & 15), _f16(dm) * (s >> 4))


#   Q3_K   | 32 bytes high | 64 bytes low | 12 bytes of s | d f16 |               110 bytes
#
#   16 groups of 16 numbers; number = (d * (scale - 32)) * (q - 4)
#   low holds the lower 2 bits of each q as Q2_K does; bit g of byte j of high is the third bit of q[32 * g + j]
#   s, 6 bits for each scale: bytes 0 to 7 hold the lower 4 (low half: scales 0 to 7, high half: 8 to 15),
#       bytes 8 to 11 the upper 2 (bits 1-0: scales 0 to 3, 3-2: 4 to 7, 5-4: 8 to 11, 7-6: 12 to 15)


def _from_q3_k(blocks: np.ndarray) -> np.ndarray:
    high, low, s_low, s_high, d = _cut(blocks, 32, 64, 8, 4, 2)
    q = _unpack(low, bits=2, run=32) | _unpack(high, bits=1, run=32) << 2
    scale = _unpack(s_low, bits=4, run=8) | _unpack(s_high, bits=2, run=4) << 4
    return _grouped(q.astype(np.int8) - np.int8(4), _f16(d) * (scale.astype(np.int8) - np.int8(32)))


#   Q4_K   | d f16 | dm f16 | 12 bytes of s | 128 bytes of q |                    144 bytes
#   Q5_K   | d f16 | dm f16 | 12 bytes of s | 32 bytes high | 128 bytes low |     176 bytes
#
#   8 groups of 32 numbers; number = (d * scale) * q - dm * minimum
#   byte j of each 32 bytes of q (which hold two groups):  high 4 bits: q[j + 32]   low 4 bits: q[j]
#   Q5_K: bit g of byte j of high is the fifth bit of q[32 * g + j]
#   s, 6 bits for each of 8 scales and 8 minima:
#       byte 0 + g   bits 7-6: upper 2 of scale g + 4     bits 5-0: scale g         (g = 0 to 3)
#       byte 4 + g   bits 7-6: upper 2 of minimum g + 4   bits 5-0: minimum g
#       byte 8 + g   bits 7-4: lower 4 of minimum g + 4   bits 3-0: lower 4 of scale g + 4


def _scales_and_minima(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second, third = _cut(s, 4, 4, 4)
    scale = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], axis=1)
    minimum = np.concatenate([second & 63, (third >> 4) | (second >> 6) << 4], axis=1)
    return scale, minimum


def _from_q4_k(blocks: np.ndarray) -> np.ndarray:
    d, dm, s, q = _cut(blocks, 2, 2, 12, 128)
    scale, minimum = _scales_and_minima(s)
    return _grouped(_unpack(q, bits=4, run=32), _f16(d) * scale, _f16(dm) * minimum)


def _from_q5_k(blocks: np.ndarray) -> np.ndarray:
    d, dm, s, high, low = _cut(blocks, 2, 2, 12, 32, 128)
    scale, minimum = _scales_and_minima(s)
    q = _unpack(low, bits=4, run=32) | _unpack(high, bits=1, run=32) << 4
    return _grouped(q, _f16(d) * scale, _f16(dm) * minimum)


#   Q6_K   | 128 bytes low | 64 bytes high | 16 x int8 scale | d f16 |            210 bytes
#
#   16 groups of 16 numbers; number = (d * scale) * (q - 32)
#   byte j of each 64 bytes of low (128 numbers):   high half: lower 4 bits of q[j + 64]   low half: of q[j]
#   byte j of each 32 bytes of high (128 numbers):  upper 2 bits of q[j], [j + 32], [j + 64], [j + 96], as in Q2_K


def _from_q6_k(blocks: np.ndarray) -> np.ndarray:
    low, high, scale, d = _cut(blocks, 128, 64, 16, 2)
    q = _unpack(low, bits=4, run=64) | _unpack(high, bits=2, run=32) << 4
    return _grouped(q.astype(np.int8) - np.int8(32), _f16(d) * np.ascontiguousarray(scale).view(np.int8))


#   Q8_K   | d f32 | 256 x int8 q | 16 x int16 sum |                              292 bytes, number i = d * q[i]
#
#   the sums of each 16 q are there for products, and not needed here


def _from_q8_k(blocks: np.ndarray) -> np.ndarray:
    d, q, _ = _cut(blocks, 4, 256, 32)
    return _from_f32(d) * np.ascontiguousarray(q).view(np.int8)


#   IQ4_XS | d f16 | 2 bytes s_high | 4 bytes s_low | 128 bytes of q |            136 bytes
#
#   8 groups of 32 numbers; number = (d * (scale - 32)) * LEVELS[q], each 16 bytes of q as in Q4_0
#   s_low: the lower 4 bits of each scale, two to a byte, the first in the low half; s_high: the upper 2, four to a byte


def _from_iq4_xs(blocks: np.ndarray) -> np.ndarray:
    d, s_high, s_low, q = _cut(blocks, 2, 2, 4, 128)
    scale = _unpack(s_low, bits=4, run=1) | _unpack(s_high, bits=2, run=1) << 4
    return _grouped(LEVELS[_unpack(q, bits=4, run=16)], _f16(d) * (scale.astype(np.int8) - np.int8(32)))


BLOCKS: dict[str, Block] = {
    "F32": Block(1, 4, _from_f32),
    "F16": Block(1, 2, _f16),
    "BF16": Block(1, 2, _from_bf16),
    "Q8_0": Block(32, 34, _from_q8_0),
    "Q4_0": Block(32, 18, _from_q4_0),
    "Q4_1": Block(32, 20, _from_q4_1),
    "Q5_0": Block(32, 22, _from_q5_0),
    "Q5_1": Block(32, 24, _from_q5_1),
    "Q2_K": Block(256, 84, _from_q2_k),
    "Q3_K": Block(256, 110, _from_q3_k),
    "Q4_K": Block(256, 144, _from_q4_k),
    "Q5_K": Block(256, 176, _from_q5_k),
    "Q6_K": Block(256, 210, _from_q6_k),
    "Q8_K": Block(256, 292, _from_q8_k),
    "IQ4_NL": Block(32, 18, _from_iq4_nl),
    "IQ4_XS": Block(256, 136, _from_iq4_xs),
}
"""By the name that GGUF gives the type."""
