"""Files of token ids: raw `.bin` (uint16 or uint32, little-endian) and NumPy's `.npy`, read as one long array.

Reading does not map files into memory: pages of a mapping count as the process's own, so a loader over a large
corpus seems to leak until the machine is full. Small files are loaded, of large ones each slice is read when asked.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groundup import artifact
from groundup.errors import DataError

IN_MEMORY = 64 * 2**20
"""Arrays of up to this many bytes are kept in memory."""


def dtype_for(vocab_size: int) -> np.dtype:
    """The narrowest type that holds every id of a vocabulary: uint16 up to 65,536 ids, else uint32."""
    return np.dtype("<u2") if vocab_size <= 2**16 else np.dtype("<u4")


class Ids:
    """A read-only one-dimensional array that lies in one or more raw files, one after the other.

    `ids[a:b]` gives a NumPy array, `len(ids)` the number of elements, `np.asarray(ids)` all of them.
    """

    ndim = 1

    def __init__(self, paths: Sequence[Path], dtype: np.dtype | str):
        self.paths = [Path(path) for path in paths]
        self.dtype = np.dtype(dtype)
        lengths = [path.stat().st_size // self.dtype.itemsize for path in self.paths]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self._loaded = self._read(0, len(self)) if len(self) * self.dtype.itemsize <= IN_MEMORY else None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def __getitem__(self, key: int | slice) -> np.ndarray:
        if self._loaded is not None:
            return self._loaded[key]
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise ValueError(f"step {step}: only whole stretches can be read; use np.asarray(ids) first")
            return self._read(start, max(start, stop))
        position = int(key)
        if not -len(self) <= position < len(self):
            raise IndexError(f"position {position} of {len(self)} ids")
        return self._read(position % len(self), position % len(self) + 1)[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[0 : len(self)], dtype=dtype)

    def _read(self, start: int, stop: int) -> np.ndarray:
        out = np.empty(stop - start, dtype=self.dtype)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        done = 0
        for i in range(first, len(self.paths)):
            if done == len(out):
                break
            skip = start + done - int(self._starts[i])
            count = min(int(self._starts[i + 1]) - int(self._starts[i]) - skip, len(out) - done)
            offset = skip * self.dtype.itemsize
            out[done : done + count] = np.fromfile(self.paths[i], dtype=self.dtype, count=count, offset=offset)
            done += count
        return out


def check_ids(ids: np.ndarray, vocab_size: int, where: str | None = None) -> None:
    """Raise `DataError` if an id is negative or beyond the vocabulary."""
    if len(ids) and (int(ids.max()) >= vocab_size or int(ids.min()) < 0):
        wrong = int(ids.max()) if int(ids.max()) >= vocab_size else int(ids.min())
        raise DataError(
            f"token id {wrong} is outside the vocabulary of {vocab_size} ids",
            where=where,
            hint="use the tokenizer that made these ids",
        )


def read_ids(path: Path | str, vocab_size: int | None = None, dtype: np.dtype | str = "<u2") -> np.ndarray | Ids:
    """Open token ids from `.npy`, or from raw `.bin` whose type is `dtype`; neither is read whole when large.

    With `vocab_size` every id is checked against it.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError("there is no such file", where=str(path))
    ids: np.ndarray | Ids
    if path.suffix == ".npy":
        try:
            ids = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"not a readable .npy file: {error}", where=str(path)) from error
        if ids.ndim != 1 or ids.dtype.kind not in "ui":
            raise DataError(
                f"holds {ids.ndim}-dimensional {ids.dtype}; token ids are one row of whole numbers", where=str(path)
            )
    else:
        size, item = path.stat().st_size, np.dtype(dtype).itemsize
        if size % item:
            raise DataError(f"{size} bytes are not a whole number of {item}-byte ids", where=str(path))
        ids = Ids([path], dtype)
    if vocab_size is not None:
        for start in range(0, len(ids), 2**22):
            check_ids(ids[start : start + 2**22], vocab_size, str(path))
    return ids


def write_ids(path: Path | str, ids: np.ndarray, vocab_size: int) -> None:
    """Write ids as `.npy` or raw `.bin`, whole or not at all, in the type that suits the vocabulary."""
    path, ids = Path(path), np.asarray(ids)
    check_ids(ids, vocab_size, str(path))
    narrow = ids.astype(dtype_for(vocab_size))
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, narrow, allow_pickle=False)
        artifact.write_file(path, buffer.getvalue())
    else:
        artifact.write_file(path, narrow.tobytes())
