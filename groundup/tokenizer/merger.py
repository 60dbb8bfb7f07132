"""Merging with the compiled kernel: what it needs in memory, on disk where memory would not do."""

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import psutil

from groundup import artifact
from groundup.errors import DataError
from groundup.tokenizer import merge_compiled as kernels
from groundup.tokenizer.counts import Counts, plain
from groundup.tokenizer.segments import as_array

IN_MEMORY = 50_000_000
"""Bytes of one array; larger ones lie in a temporary file, which the system keeps in its cache if it has room."""

MOST = 2**32
"""Places that the kernels can tell apart."""

RESIDENT = 230_000_000
"""Bytes in memory from which on what lies in files is let go again and again."""

STRETCH, SLOTS = 2**21, 2**15
"""Places, and slots, between two looks at how much memory is taken."""

FEW = 64
"""Pieces that occur less often are not sorted by count but gathered, one count after the other."""

FIRST_PAIRS = FIRST_HEAP = 2**17
POOL = 1.15
"""Room at first: slots for pairs, and places per place of the text."""

A_WHILE = 256
"""Merges between two reports of progress."""

RARE = 150
"""Pairs that begin with less than one RARE-th of the bytes for each merge are not kept at first. Trainings on prose,
code and Chinese did not come down to a third of that; one that does is done again with all pairs."""


def merge(
    counts: Counts,
    n_merges: int,
    *,
    id_by_byte: np.ndarray,
    lexicographic: bool = False,
    first: np.ndarray | None = None,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The first `n_merges` merges, fewer if no pair is left: (n, 2), 256 + k for the result of merge k.

    id_by_byte: (256,), the ids of bytes, which decide between pairs of equal count. first: merges to begin with.
    """
    begun = np.zeros((0, 2), np.int32) if first is None else np.ascontiguousarray(first, np.int32)
    for least in (max(2, counts.n_bytes // (RARE * max(1, n_merges))), 1) if first is None else (1,):
        merges = Merger(counts, n_merges, id_by_byte, lexicographic, least).run(begun, progress)
        if len(merges) == n_merges:
            break
    return merges


class Merger:
    def __init__(self, counts: Counts, n_merges: int, id_by_byte: np.ndarray, lexicographic: bool, least: int = 1):
        self._files: dict[str, np.ndarray] = {}
        self.n_merges, self.least = n_merges, least
        self.state = np.zeros(5, np.int64)
        self._lay_out(counts, np.ascontiguousarray(id_by_byte, np.int32))

        n_tokens = 256 + n_merges
        length, begins = np.zeros(n_tokens, np.int32), np.zeros(n_tokens, np.int64)
        length[:256], begins[:256] = 1, np.arange(256)
        arena = np.zeros(2**16, np.uint8)
        arena[id_by_byte] = np.arange(256)
        self.state[kernels.ARENA] = 256
        self.tokens = (length, begins, arena, kernels.LEXICOGRAPHIC if lexicographic else kernels.HUGGINGFACE)
        self.neighbours = np.zeros((8, n_tokens + 1), np.int64)
        self.merges = np.zeros((n_merges, 2), np.int32)

        self.table = _empty_table(FIRST_PAIRS)
        self.heap = np.zeros(FIRST_HEAP, np.int64), np.zeros(FIRST_HEAP, np.uint64)
        pair_counts, n_places = np.zeros(65536, np.int64), np.zeros(65536, np.int64)
        for start in range(0, len(self.symbols), STRETCH):
            kernels.first_pairs(self.symbols, start, start + STRETCH, self.groups, pair_counts, n_places)
            self._let_go()
        self.pool = self._array("pool", int(n_places.sum() * POOL) + 1000, np.uint32)
        next_place = np.zeros(65536, np.int64)
        kernels.enter_first_pairs(pair_counts, n_places, next_place, self.table, self.heap, self.tokens, self.state)
        for start in range(0, len(self.symbols), STRETCH):
            kernels.fill_pool(self.symbols, start, start + STRETCH, next_place, self.pool)
            self._let_go()

    def _lay_out(self, counts: Counts, id_by_byte: np.ndarray) -> None:
        pieces, offsets, numbers = as_array(counts.pieces), plain(counts.offsets), plain(counts.counts)
        ids = np.uint16 if 256 + self.n_merges < 2**16 else np.uint32
        self.symbols = self._array("symbols", len(pieces) + len(numbers) + 1, ids)
        self.symbols[0] = np.iinfo(ids).max  # what is no id
        read = {"pieces": pieces, "offsets": offsets, "numbers": numbers}
        self._files |= read
        at = 1
        group_end: list[int] = []
        group_count: list[int] = []
        for count, order in by_count(numbers):
            at = kernels.lay_out(pieces, offsets, order, id_by_byte, self.symbols, at)
            if group_count and group_count[-1] == count:
                group_end[-1] = at
            else:
                group_count.append(count)
                group_end.append(at)
            self._let_go()
        for name, array in read.items():
            let_go(array)
            del self._files[name]
        blocks = np.arange(0, len(self.symbols), 2**kernels.BLOCK)
        group_of_block = np.searchsorted(np.array(group_end), blocks, side="right").astype(np.uint32)
        self.groups = np.array(group_end, np.int64), np.array(group_count, np.int64), group_of_block

    def run(self, first: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        while True:
            done = int(self.state[kernels.N_MERGES])
            # What lies in files is let go after a few merges; the first ones touch most.
            until = min(self.n_merges, done + (min(1 + done // 16, A_WHILE) if self._files else A_WHILE))
            lacking = kernels.merge(
                first, until, self.merges, self.symbols, self.groups, self.tokens, self.table, self.pool, self.heap,
                self.neighbours, self.least, self.state,
            )  # fmt: skip
            self._let_go()
            if progress:
                progress(int(self.state[kernels.N_MERGES]))
            if lacking == kernels.EXHAUSTED or self.state[kernels.N_MERGES] == self.n_merges:
                return self.merges[: self.state[kernels.N_MERGES]].astype(np.uint32)
            self.make_room(lacking)

    def make_room(self, lacking: int) -> None:
        if lacking == kernels.TABLE_FULL:
            kept = kernels.count_kept(self.table, self.least)
            size = len(self.table) * (2 if 4 * kept > len(self.table) else 1)
            most_new = 2 * (256 + int(self.state[kernels.N_MERGES]) + 1)
            while size // 8 * 5 - kept <= most_new:
                size *= 2
            other = _empty_table(size)
            self.state[kernels.N_PAIRS] = kernels.move_pairs(self.table, other, self.least)
            self.table = other
        elif lacking == kernels.HEAP_FULL:
            self.heap = tuple(np.concatenate([array, np.zeros_like(array)]) for array in self.heap)
        elif lacking == kernels.ARENA_FULL:
            length, begins, arena, ties = self.tokens
            room = np.zeros(len(arena) + int(length.max()), np.uint8)
            self.tokens = length, begins, np.concatenate([arena, room]), ties
        elif lacking == kernels.POOL_FULL:
            if "pool" in self._files:
                self._files["old pool"] = self._files.pop("pool")
            other = self._array("pool", len(self.pool) + len(self.symbols) // 4, np.uint32)
            n = 0
            for start in range(0, len(self.table), SLOTS):
                n = kernels.compact_pool(
                    self.table, start, start + SLOTS, self.least, self.symbols, self.tokens, self.pool, other, n
                )
                self._let_go()
            self._files.pop("old pool", None)
            self.pool = other
            self.state[kernels.POOLED] = n

    def _array(self, name: str, n: int, dtype: type) -> np.ndarray:
        """A new array of zeros, in a file if it is large."""
        if n > MOST:
            raise DataError("the text has too many distinct pieces to train on", hint="use less text, see --max-bytes")
        size = n * np.dtype(dtype).itemsize
        if size <= IN_MEMORY:
            return np.zeros(n, dtype)
        with artifact.reporting_disk(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
            _reserve(file, size)
            array = np.memmap(file, dtype, "w+", shape=(n,))
        self._files[name] = array
        return np.asarray(array)

    def _let_go(self) -> None:
        """Give the memory of files back to the system, which has them in its own cache for as long as it can."""
        if self._files and psutil.Process().memory_info().rss > RESIDENT:
            for array in self._files.values():
                let_go(array)


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the room on disk now: a disk that is full when the array is written to would end the process."""
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
                raise


def let_go(array: np.ndarray) -> None:
    """Give back the memory of an array that lies in a file."""
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(owner, "madvise"):
        owner.madvise(mmap.MADV_DONTNEED)


def by_count(numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of equal count together, the most frequent first: a count and which pieces have it, in stretches."""
    often = np.flatnonzero(numbers >= FEW)
    often = often[np.argsort(-numbers[often], kind="stable")]
    borders = np.flatnonzero(np.diff(numbers[often], prepend=0)).tolist()
    for start, stop in pairwise([*borders, len(often)]):
        yield int(numbers[often[start]]), often[start:stop]
    for count in range(FEW - 1, 0, -1):
        for start in range(0, len(numbers), STRETCH):
            found = np.flatnonzero(numbers[start : start + STRETCH] == count) + start
            if len(found):
                yield count, found


def _empty_table(n_slots: int) -> np.ndarray:
    table = np.zeros((n_slots, 3), np.uint64)
    table[:, kernels.KEY] = kernels.NO_PAIR
    return table
