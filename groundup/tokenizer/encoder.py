"""Encoding with the compiled kernels: what they need in memory, and threads.

Kernels hold no lock, so Python threads run them side by side; each takes scratch memory and a cache of its own.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from groundup.tokenizer import character_kinds, compiled
from groundup.tokenizer import encode_compiled as kernels
from groundup.tokenizer import split_compiled as splitter
from groundup.tokenizer.segments import SEGMENT, Job, as_array
from groundup.tokenizer.split import compiled_family

if TYPE_CHECKING:
    from groundup.tokenizer.bpe import BPE

CACHE_ENTRIES = 2**18
APART_ENTRIES = 2**18

KEY_MASKS = np.array(
    [
        [(1 << 8 * min(n, 8)) - 1 if n <= kernels.SHORT else 0 for n in range(kernels.SHORT + 2)],
        [(1 << 8 * max(n - 8, 0)) - 1 if n <= kernels.SHORT else 0 for n in range(kernels.SHORT + 2)],
    ],
    np.uint64,
)
"""For a piece of n bytes, which of the first and of the second eight bytes from its begin are its own; none of a long
piece, which is not cached."""


class NotInOrder(ValueError):
    """A token is made by a merge that comes before one that makes its half, or a token or merge is there twice.

    No training gives that.

    The kernel takes ranks for times. (That other pairs are out of order, as those of cl100k's spaces are, does no harm:
    a token is made in one way only.)
    """


class Encoder:
    """The compiled form of `BPE.encode_plainly`: same ids. For patterns that are known by name."""

    def __init__(self, tokenizer: "BPE"):
        self._family = compiled_family(tokenizer.pattern)
        self._kinds = character_kinds.saved_kinds(compiled.folder())
        arena, offsets = flat(tokenizer.token_bytes)
        tokens = np.full(table_size(tokenizer.vocab_size), -1, np.int32)
        kernels.fill_tokens(arena, offsets, tokens)
        self._merging = _merging(tokenizer, arena, offsets, tokens)
        lengths, made_at = np.diff(offsets), self._merging[2][:, kernels.RANK]
        is_asked_for_whole = tokenizer.whole_first and bool((made_at[lengths > 0] == kernels.NEVER).any())
        self._whole = (arena, offsets, tokens if is_asked_for_whole else tokens[:0])
        self._free: deque[Workspace] = deque()

    def encode(self, work: Iterable[Job], threads: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each job its ids and where in them its texts end, in order; at most two jobs per thread are under way."""
        if threads <= 1:
            yield from map(self._encode_job, work)
            return
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
            for job in work:
                waiting.append(pool.submit(self._encode_job, job))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _encode_job(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        try:
            space = self._free.pop()
        except IndexError:
            space = Workspace()
        found = space.encode(job, self._family, self._kinds, self._merging, self._whole)
        self._free.append(space)  # not after an error, which may have left it with less room than it believes
        return found


class Workspace:
    """Scratch memory of one thread, and its cache of pieces."""

    def __init__(self):
        self.cache = np.full(CACHE_ENTRIES * kernels.WORDS_PER_ENTRY, kernels.NONE, np.uint64)
        self.tail = np.zeros(64, np.uint8)
        self.keys = np.zeros((3, kernels.STAGED), np.uint64)
        self.apart = np.full(APART_ENTRIES, kernels.NONE, np.uint64)
        self._make_room(0, 0)

    def encode(self, job: Job, family, kinds, merging, whole) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a job, and where in them its texts end."""
        borders = job.borders
        n_bytes, longest = int(borders[-1] - borders[0]), int(np.diff(borders).max(initial=0))
        if n_bytes > self.n_bytes or longest > self.longest:
            self._make_room(n_bytes, longest)
        offsets = np.zeros(len(borders), np.int64)
        splitting = (*family, kinds, self.classes, self.tail, self.ends)
        memory = (self.cache, self.keys, KEY_MASKS, self.apart, self.dead)
        kernels.encode_texts(job.data, borders, splitting, merging, whole, memory, self.out, offsets)
        ids = self.out[: offsets[-1]].copy()
        if self.longest > 4 * SEGMENT:
            self._make_room(0, 0)
        return ids, offsets[1:][job.is_last].astype(np.uint64)

    def _make_room(self, n_bytes: int, longest: int) -> None:
        """Room for ids of n_bytes in all (at most one a byte, and what a look-up writes too much) and for one part."""
        self.n_bytes, self.longest = max(n_bytes, 2 * SEGMENT), max(longest, 2 * SEGMENT)
        self.out = np.zeros(self.n_bytes + kernels.MOST_CACHED_IDS, np.uint32)
        self.classes = np.zeros((splitter.N_CLASSES, self.longest // 64 + 3), np.uint64)
        self.ends = np.zeros(self.longest + 1, np.int64)
        self.dead = np.zeros(self.longest // 64 + 2, np.uint64)


# --- tables ---


def flat(tokens: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """All tokens in one read-only array of bytes, and where each begins, one more than tokens: int64."""
    offsets = np.zeros(len(tokens) + 1, np.int64)
    np.cumsum([len(token) for token in tokens], out=offsets[1:])
    return as_array(b"".join(tokens)), offsets


def table_size(n: int) -> int:
    """A power of two, at least twice as many."""
    return 1 << max(4, (2 * n).bit_length())


def _merging(tokenizer: "BPE", arena: np.ndarray, offsets: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, ...]:
    """What `encode_piece` needs to know of the merges."""
    lengths = np.diff(offsets)
    if len(tokenizer.id_by_token) < np.count_nonzero(lengths):
        raise NotInOrder
    made = np.full((tokenizer.vocab_size, 4), kernels.NEVER, np.int32)
    made[[i for i in tokenizer._byte_ids if i < tokenizer.vocab_size], kernels.RANK] = kernels.AT_ONCE
    bits = np.zeros(2**kernels.FILTER_BITS // 64, np.uint64)
    if tokenizer.by_result:
        table = _empty_table(kernels.count_pairs(arena, offsets, tokens))
        by_length = np.argsort(lengths, kind="stable")
        kernels.learn_tokens(by_length[lengths[by_length] > 1], arena, offsets, tokens, table, bits, made)
    else:
        table = _empty_table(len(tokenizer.merges))
        pairs = np.array(tokenizer.merges, np.uint32, order="C")  # writable, so that numba compiles one form only
        if len(np.unique(pairs[:, 0].astype(np.uint64) << np.uint64(32) | pairs[:, 1])) < len(pairs):
            raise NotInOrder
        kernels.learn_merges(pairs, np.array(tokenizer._results, np.uint32), table, bits, made)
    for token in np.flatnonzero((made[:, kernels.RANK] == kernels.NEVER) & (lengths > 0)).tolist():
        if tokenizer.merge_plainly(tokenizer.token_bytes[token]) == [token]:
            raise NotInOrder
    trie = _empty_table(int(lengths[made[:, kernels.RANK] != kernels.NEVER].sum()) // 2 + 256)
    starts = np.zeros(2 * kernels.TWO_BYTES + 256, np.uint64)
    kernels.fill_trie(arena, offsets, made, trie, starts)
    trie = _empty_table(int((trie != kernels.NONE).sum()))  # now that the number of nodes is known
    kernels.fill_trie(arena, offsets, made, trie, starts)
    return table, bits, made, trie, starts


def _empty_table(n: int) -> np.ndarray:
    return np.full(table_size(n), kernels.NONE, np.uint64)
