"""Counting with the compiled kernels: a table for each thread, spilled to disk when it is full, joined at the end."""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np

from groundup import artifact
from groundup.tokenizer import character_kinds, compiled
from groundup.tokenizer import count_compiled as kernels
from groundup.tokenizer import split_compiled as splitter
from groundup.tokenizer.counts import FILES, Counts, Scratch, open_array, plain
from groundup.tokenizer.encode_compiled import STAGED
from groundup.tokenizer.encoder import KEY_MASKS
from groundup.tokenizer.segments import SEGMENT, Job, as_array
from groundup.tokenizer.split import compiled_family

FIRST_SLOTS = 2**14
MOST_SLOTS = 2**20
FIRST_STORE = 2**16
MOST_STORE = 2**24
"""A table of so many slots holds 650,000 pieces in 25 MB, and its store 16 MB of long ones."""

LARGE = 30_000_000
"""Bytes in tables; so much is joined on disk."""

N_PARTS = 16
"""Spilled pieces are divided into so many parts by their hash, each small enough to be joined in memory."""


class Counter:
    """Counts pieces of texts in any number of threads, which changes nothing in the result, and in bounded memory."""

    def __init__(self, pattern: str, *, most_slots: int = MOST_SLOTS, most_store: int = MOST_STORE):
        self._pattern = pattern
        family = compiled_family(pattern)
        if family is None:
            raise ValueError(f"no compiled splitter knows the pattern {pattern!r}")
        self._family = family
        self._kinds = character_kinds.saved_kinds(compiled.folder())
        self._limits = most_slots, most_store
        self._free: deque[Table] = deque()
        self._tables: list[Table] = []
        self._spilled: Scratch | None = None
        self._spilling = Lock()

    def count(self, work: Iterable[Job], threads: int = 1, progress: Callable[[int], None] | None = None) -> None:
        """Count the pieces of all jobs. progress is called with the bytes counted in this call so far."""
        n_bytes = 0
        with ThreadPoolExecutor(max(1, threads)) as pool:
            waiting: deque[tuple[int, Future]] = deque()

            def finish_one() -> None:
                nonlocal n_bytes
                size, future = waiting.popleft()
                future.result()
                n_bytes += size
                if progress:
                    progress(n_bytes)

            for job in work:
                if threads <= 1:
                    self._count_job(job)
                    n_bytes += job.n_bytes
                    if progress:
                        progress(n_bytes)
                    continue
                waiting.append((job.n_bytes, pool.submit(self._count_job, job)))
                if len(waiting) > 2 * threads:
                    finish_one()
            while waiting:
                finish_one()

    def add(self, counts: Counts) -> None:
        """Add pieces that were counted elsewhere."""
        table = self._take()
        table.add(counts)
        self._free.append(table)

    def result(self) -> Counts:
        """All that was counted; the counter is empty afterwards."""
        tables, self._tables, self._free = self._tables, [], deque()
        if self._spilled is None and sum(table.n_bytes for table in tables) < LARGE:
            whole = Table(limits=None)
            for table in tables:
                whole.add(Counts(*table.gather(0, 1), self._pattern))
            return Counts(*whole.gather(0, 1), self._pattern)
        while tables:
            self._spill(tables.pop())
        assert self._spilled is not None
        joined = Scratch()
        n_bytes = 0
        for part in range(N_PARTS):
            whole = Table(limits=None)
            whole.add(_read_part(self._spilled.path, part, self._pattern))
            pieces, offsets, counts = whole.gather(0, 1)
            _append(joined.path, pieces=pieces, offsets=offsets[1 if part else 0 :] + n_bytes, counts=counts)
            n_bytes += len(pieces)
        self._spilled = None
        pieces, offsets, counts = (open_array(joined.path / name, dtype) for name, dtype in FILES.items())
        return Counts(pieces, offsets, counts, self._pattern, keep=joined)

    def _count_job(self, job: Job) -> None:
        table = self._take()
        try:
            table.count(job, self._family, self._kinds)
        finally:
            self._free.append(table)

    def _take(self) -> "Table":
        try:
            return self._free.pop()
        except IndexError:
            table = Table(self._limits, self._spill)
            self._tables.append(table)
            return table

    def _spill(self, table: "Table") -> None:
        with self._spilling:
            if self._spilled is None:
                self._spilled = Scratch()
            table.spill(self._spilled.path)


class Table:
    """The pieces that one thread has counted. limits: most slots and most bytes of long pieces; None: none."""

    def __init__(self, limits: tuple[int, int] | None, spill: "Callable[[Table], None] | None" = None):
        self.limits = limits
        self._spill = spill
        self._keys = np.zeros((3, STAGED), np.uint64)
        self._tail = np.zeros(64, np.uint8)
        self._state = np.zeros(4, np.int64)
        self._room = 0
        self._empty()

    def _empty(self) -> None:
        self._table = np.zeros((FIRST_SLOTS, 3), np.uint64)
        self._store = np.zeros(FIRST_STORE, np.uint8)
        self._state[[kernels.USED, kernels.STORED]] = 0

    @property
    def n_bytes(self) -> int:
        return self._table.nbytes + len(self._store)

    def count(self, job: Job, family: tuple[int, int], kinds: np.ndarray) -> None:
        longest = int(np.diff(job.borders).max(initial=0))
        if longest > self._room:
            room = max(longest, 2 * SEGMENT)
            self._classes = np.zeros((splitter.N_CLASSES, room // 64 + 3), np.uint64)
            self._ends = np.zeros(room + 1, np.int64)
            self._room = room
        splitting = (*family, kinds, self._classes, self._tail, self._ends)
        self._state[[kernels.TEXT, kernels.PIECE]] = 0
        self._until_finished(
            lambda: kernels.count_texts(
                job.data, job.borders, splitting, self._keys, KEY_MASKS, self._table, self._store, self._state
            ),
            longest,
        )

    def add(self, counts: Counts) -> None:
        self._state[kernels.PIECE] = 0
        pieces, offsets = as_array(counts.pieces), np.asarray(counts.offsets)
        self._until_finished(
            lambda: kernels.add_pieces(
                pieces, plain(offsets), plain(counts.counts), self._table, self._store, self._state
            ),
            int(np.diff(offsets).max(initial=0)),
        )

    def _until_finished(self, step: Callable[[], int], longest: int) -> None:
        while (lacking := step()) != kernels.FINISHED:
            is_full = lacking == kernels.FULL
            size = len(self._table) if is_full else len(self._store)
            if self.limits is None or size < self.limits[0 if is_full else 1] or self._state[kernels.USED] == 0:
                self._grow(is_full, longest)
            else:
                assert self._spill is not None
                self._spill(self)

    def _grow(self, is_full: bool, longest: int) -> None:
        if is_full:
            larger = np.zeros(((4 if len(self._table) < 2**18 else 2) * len(self._table), 3), np.uint64)
            kernels.grow(self._table, larger)
            self._table = larger
        else:
            larger = np.zeros((4 if len(self._store) < 2**22 else 2) * len(self._store) + longest + 8, np.uint8)
            larger[: len(self._store)] = self._store
            self._store = larger

    def gather(self, part: int, n_parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pieces, offsets and counts of one part."""
        n, n_bytes = kernels.sizes(self._table, self._store, part, n_parts)
        pieces, offsets, counts = np.zeros(n_bytes, np.uint8), np.zeros(n + 1, np.int64), np.zeros(n, np.int64)
        kernels.gather(self._table, self._store, part, n_parts, pieces, offsets, counts)
        return pieces, offsets, counts

    def spill(self, folder: Path) -> None:
        """Write all pieces to the parts in a folder, and begin anew."""
        for part in range(N_PARTS):
            pieces, offsets, counts = self.gather(part, N_PARTS)
            arrays = {"pieces": pieces, "lengths": np.diff(offsets).astype(np.uint32), "counts": counts}
            _append(folder, **{f"{name}-{part}": array for name, array in arrays.items()})
        self._empty()


# --- on disk: arrays that grow, and the parts of what was spilled ---


def _append(folder: Path, **arrays: np.ndarray) -> None:
    with artifact.reporting_disk(folder):
        for name, array in arrays.items():
            with open(folder / name, "ab") as file:
                file.write(array.data)  # array.tofile would not say that the disk is full


def _read_part(folder: Path, part: int, pattern: str) -> Counts:
    lengths = open_array(folder / f"lengths-{part}", np.uint32)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return Counts(
        open_array(folder / f"pieces-{part}", np.uint8),
        offsets,
        open_array(folder / f"counts-{part}", np.int64),
        pattern,
    )
