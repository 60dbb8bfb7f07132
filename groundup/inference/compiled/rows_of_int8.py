"""int8-row: weights as whole numbers of 8 bits with one scale for each row, made when a model is opened.

    | scale float32 | columns x int8 q |        number = scale * q, scale = the largest magnitude of the row / 127

A row is a whole number of 32-bit words, and stands as uint32 in arrays. No file format keeps this.
"""

import numpy as np

STRETCH = 1 << 20
"""Numbers that are rounded at a time."""


def quantise(numbers: np.ndarray) -> np.ndarray:
    """float32 (rows, columns), columns a multiple of 4 -> uint32 (rows, 1 + columns / 4).

    ValueError for numbers that are not finite. Halves are rounded to even ones.
    """
    rows, columns = numbers.shape
    kept = np.empty((rows, 1 + columns // 4), np.uint32)
    step = max(1, STRETCH // columns)
    for start in range(0, rows, step):
        part = numbers[start : start + step]
        scale = np.abs(part).max(axis=1, keepdims=True) / np.float32(127)
        if not np.isfinite(scale).all():
            raise ValueError("there are numbers that are not finite")
        kept[start : start + step, :1] = scale.view(np.uint32)
        # A row of zeros, or of numbers too small for a scale, is kept as zeros.
        q = np.rint(np.divide(part, scale, out=np.zeros_like(part), where=scale > 0))
        kept[start : start + step, 1:] = np.clip(q, -127, 127).astype(np.int8).view(np.uint32)
    return kept


def widen(kept: np.ndarray) -> np.ndarray:
    """uint32 (n, 1 + columns / 4) -> float32 (n, columns)."""
    return np.ascontiguousarray(kept[:, 1:]).view(np.int8) * np.ascontiguousarray(kept[:, :1]).view(np.float32)
