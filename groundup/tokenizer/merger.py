"""Merging with the compiled kernel: what it needs in memory, on disk where memory would not do."""

import mmap
from collections.abc import Callable

import numpy as np

from groundup import artifact
from groundup.tokenizer import merge_compiled as kernels
from groundup.tokenizer.counter import _plain
from groundup.tokenizer.counts import Counts, Scratch
from groundup.tokenizer.segments import as_array

IN_MEMORY = 150_000_000
"""Bytes of one array; larger ones lie in a temporary file, of which the system keeps in memory what it has room for."""

FIRST_PAIRS = 2**17
POOL = 1.4
"""Room at first: slots for pairs, and places per place of the text."""

A_WHILE = 256
"""Merges between two reports of progress."""

RARE = 2
"""Pairs that begin with a lower count are not kept at first: hardly a training comes down to them."""


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
    for least in (RARE, 1) if first is None else (1,):
        merges = Merger(counts, n_merges, id_by_byte, lexicographic, least).run(begun, progress)
        if len(merges) == n_merges:
            break
    return merges


class Merger:
    def __init__(self, counts: Counts, n_merges: int, id_by_byte: np.ndarray, lexicographic: bool, least: int = 1):
        self._scratch: Scratch | None = None
        self._maps: dict[str, np.memmap] = {}
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
        self.heap = np.zeros(2**17, np.int64), np.zeros(2**17, np.uint64)
        pair_counts, n_places = np.zeros(65536, np.int64), np.zeros(65536, np.int64)
        kernels.first_pairs(self.symbols, self.groups, pair_counts, n_places)
        self.pool = self._array("pool", int(n_places.sum() * POOL) + 1000, np.uint32)
        kernels.enter_first_pairs(
            self.symbols, pair_counts, n_places, np.zeros(65536, np.int64),
            self.pool, self.table, self.heap, self.tokens, self.state,
        )  # fmt: skip

    def _lay_out(self, counts: Counts, id_by_byte: np.ndarray) -> None:
        pieces, offsets, numbers = as_array(counts.pieces), _plain(counts.offsets), _plain(counts.counts)
        order = np.argsort(-numbers, kind="stable")
        n_places = len(pieces) + len(numbers) + 1
        self.symbols = self._array("symbols", n_places, np.int32)
        kernels.lay_out(pieces, offsets, order, id_by_byte, self.symbols)
        n_groups = len(np.unique(numbers))
        group_end, group_count = np.zeros(n_groups, np.int64), np.zeros(n_groups, np.int64)
        group_of_block = np.zeros((n_places >> kernels.BLOCK) + 1, np.uint32)
        kernels.group(offsets, order, numbers, group_end, group_count, group_of_block)
        self.groups = group_end, group_count, group_of_block

    def run(self, first: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        while True:
            done = int(self.state[kernels.N_MERGES])
            # What lies in files is let go after a few merges; the first ones touch most.
            until = min(self.n_merges, done + (1 + done // 16 if self._maps else A_WHILE))
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
            larger = _empty_table(2 * len(self.table))
            self.state[kernels.N_PAIRS] = kernels.move_pairs(self.table, larger, self.least)
            self.table = larger
        elif lacking == kernels.HEAP_FULL:
            self.heap = tuple(np.concatenate([array, np.zeros_like(array)]) for array in self.heap)
        elif lacking == kernels.ARENA_FULL:
            length, begins, arena, ties = self.tokens
            room = np.zeros(len(arena) + int(length.max()), np.uint8)
            self.tokens = length, begins, np.concatenate([arena, room]), ties
        elif lacking == kernels.POOL_FULL:
            smaller = self._array("pool", len(self.pool) + len(self.symbols) // 2, np.uint32)
            n = kernels.compact_pool(self.table, self.least, self.symbols, self.tokens, self.pool, smaller)
            self.pool = smaller
            self.state[kernels.POOLED] = n

    def _array(self, name: str, n: int, dtype: type) -> np.ndarray:
        """A new array of zeros, in a file if it is large."""
        if n * np.dtype(dtype).itemsize <= IN_MEMORY:
            return np.zeros(n, dtype)
        self._scratch = self._scratch or Scratch()
        file = self._scratch.path / name
        file.unlink(missing_ok=True)  # the file of an array that is still open stays until it is closed
        with artifact.reporting_disk(file):
            array = np.memmap(file, dtype, "w+", shape=(n,))
        self._maps[name] = array
        return np.asarray(array)

    def _let_go(self) -> None:
        """Give the memory of files back to the system, which has them in its own cache for as long as it can."""
        for array in self._maps.values():
            mapping = getattr(array, "_mmap", None)
            if isinstance(mapping, mmap.mmap) and hasattr(mapping, "madvise"):
                mapping.madvise(mmap.MADV_DONTNEED)


def _empty_table(n_slots: int) -> np.ndarray:
    table = np.zeros((n_slots, 3), np.uint64)
    table[:, kernels.KEY] = kernels.NO_PAIR
    return table
