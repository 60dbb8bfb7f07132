"""Writes a safetensors file tensor by tensor; the library has them all in memory at once.

    8 bytes    length of the header, little endian
    header     JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}, padded with spaces to 8
    data       the tensors one after the other, from offset 0, row-major, little endian

The same tensors always give the same bytes.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup import artifact
from groundup.errors import UsageError
from groundup.weights.lazy import DTYPES, LazyTensor

NAMES = {dtype: name for name, dtype in DTYPES.items()}

CHUNK = 1 << 20
"""Numbers that are rounded to another dtype at a time."""


def write(file: Path, tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None = None) -> None:
    """Write `tensors` in order of their names, rounded to `dtype` or as they are.

    UsageError: numbers that are too large for `dtype`.
    The file is not synced, and not there at once: artifact.writing sees to both.
    """
    dtypes = {name: dtype or tensor.dtype for name, tensor in tensors.items()}
    # Wide dtypes first: then every tensor begins at a multiple of its own size, and can be memory-mapped.
    ordered = sorted(tensors, key=lambda name: (-dtypes[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name in ordered:
        shape = tensors[name].shape
        end = offset + math.prod(shape) * dtypes[name].itemsize
        header[name] = {"dtype": NAMES[dtypes[name]], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    with artifact.writing_hashed(file) as write_bytes:
        write_bytes(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            _write_numbers(write_bytes, name, tensors[name].load(), dtypes[name])


def _write_numbers(write_bytes: Callable[[Any], None], name: str, tensor: Tensor, dtype: torch.dtype) -> None:
    for numbers in tensor.to("cpu").contiguous().reshape(-1).split(CHUNK):
        rounded = numbers.to(dtype)
        if dtype != tensor.dtype and not torch.isfinite(rounded).all():
            hint = "bfloat16 and float32 hold larger numbers"
            raise UsageError(f"{name} has numbers that are not finite, or too large for {NAMES[dtype]}", hint=hint)
        write_bytes(rounded.view(torch.uint8).numpy().data)
