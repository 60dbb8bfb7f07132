"""StoredTensor: where in which file the numbers of a tensor lie, and reading them. No torch here, only numpy."""

import contextlib
import errno
import math
import mmap
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from groundup.errors import ArtefactError
from groundup.weights.gguf_blocks import BLOCKS, dequantise

PLAIN = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip
"""Dtypes that numpy has too. The others are in gguf_blocks.BLOCKS."""

MOST_BYTES = 1 << 62
"""Of one tensor: what a machine can count. The file is a closer bound, but not for shapes with a zero."""
MOST_DIMS = 32


@dataclass(frozen=True)
class StoredTensor:
    """`n_bytes` at `offset` of `file`, which were checked to lie inside it and to be right for dtype and shape.

    The dtype is as the file names it ("F32", "BF16", "Q4_K"), the shape row-major, also for GGUF, which turns it round.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    n_bytes: int

    def raw(self) -> np.ndarray:
        """The bytes, uint8 (n_bytes,), read-only.

        They are memory-mapped: nothing is read until it is used, and a file that is cut off meanwhile ends the process
        (replace files by renaming, as artifact.py does). Where they begin at an address that does not suit the dtype,
        as a careless writer may leave them, they are copied.
        """
        if self.n_bytes == 0:
            return _read_only(np.empty(0, np.uint8))
        try:
            # "c": who writes to it all the same, as PyTorch can, writes to memory of their own and not to the file.
            view = np.memmap(self.file, np.uint8, "c", offset=self.offset, shape=(self.n_bytes,))
        except (OSError, ValueError) as error:  # gone, or shorter than it was
            what = f"the file was changed after it was opened, so {self.name!r} cannot be read"
            raise ArtefactError(what, where=str(self.file)) from error
        size = PLAIN[self.dtype].itemsize if self.dtype in PLAIN else 2 if self.dtype == "BF16" else 1
        return _read_only(view.view(np.ndarray) if self.offset % size == 0 else np.array(view))

    def numbers(self) -> np.ndarray:
        """The numbers, in `shape`: those of a dtype of PLAIN as they are, BF16 and quantised ones as float32."""
        raw = self.raw()
        if self.dtype == "BOOL":
            return (raw != 0).reshape(self.shape)
        flat = raw.view(PLAIN[self.dtype]) if self.dtype in PLAIN else dequantise(raw, self.dtype)
        return flat.reshape(self.shape)

    def rows(self, start: int, stop: int) -> "StoredTensor":
        """Rows `start` up to, not including, `stop` of the first dimension; still nothing is read."""
        if not 0 <= start <= stop <= (self.shape[0] if self.shape else 0):
            raise IndexError(f"rows {start} to {stop} of {self.name}, which has shape {self.shape}")
        row = self.n_bytes // self.shape[0] if self.shape[0] else 0
        shape = (stop - start, *self.shape[1:])
        return replace(self, shape=shape, offset=self.offset + start * row, n_bytes=(stop - start) * row)


def count_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """What a tensor takes. ValueError, to go on from "it has ", if there can be no such tensor."""
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {quoted(shape)}, in which a size is negative")
    if len(shape) > MOST_DIMS:
        raise ValueError(f"{len(shape):,} dimensions, and {MOST_DIMS} are the most")
    n_numbers, bytes_each = BLOCKS[dtype][:2] if dtype in BLOCKS else (1, PLAIN[dtype].itemsize)
    if n_numbers > 1 and (not shape or shape[-1] % n_numbers):
        raise ValueError(f"shape {quoted(shape)}, whose rows cannot be cut into {dtype}'s blocks of {n_numbers}")
    if math.prod(max(size, 1) for size in shape) * bytes_each > MOST_BYTES:  # zeros must not hide the others
        raise ValueError(f"shape {quoted(shape)}, which is too large for any memory")
    return math.prod(shape) // n_numbers * bytes_each


def size_of(file: Path) -> int:
    """The size of a file that is about to be mapped; ArtefactError if it is missing, empty or no plain file."""
    try:
        status = file.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            is_missing = f"{file.name} is missing" if not file.is_symlink() else f"{file.name} is a link to nowhere"
            raise ArtefactError(is_missing, where=str(file.parent)) from error
        raise _unreadable(file, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise ArtefactError(f"{file.name} is a folder, not a file", where=str(file))
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for somebody to write
        raise ArtefactError(f"{file.name} is a pipe or a device, not a file", where=str(file))
    if status.st_size == 0:
        raise ArtefactError(f"{file.name} is empty", where=str(file), hint="copy or download it again")
    return status.st_size


def read_bytes(file: Path, offset: int, n_bytes: int) -> bytes:
    """A part of a file; what cannot be read is an ArtefactError."""
    try:
        with open(file, "rb") as opened:
            opened.seek(offset, os.SEEK_SET)
            return opened.read(n_bytes)
    except OSError as error:
        raise _unreadable(file, error) from error


@contextlib.contextmanager
def mapped(file: Path) -> Iterator[mmap.mmap]:
    """A whole file as bytes of which only those that are used are read."""
    try:
        with open(file, "rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: it is empty by now
        raise _unreadable(file, error) from error
    with data:
        yield data


def _unreadable(file: Path, error: OSError | ValueError) -> ArtefactError:
    reason = error.strerror if isinstance(error, OSError) else error
    return ArtefactError(f"cannot read {file.name}: {reason}", where=str(file))


def quoted(value: object) -> str:
    """A name or value from a file, for an error: escaped, and never longer than a line."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:96]} ..."


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
