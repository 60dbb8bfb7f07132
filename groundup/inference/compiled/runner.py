"""CompiledRunner: a model on the CPU, by one compiled function that several threads run side by side. No torch.

Sequences keep their keys and values in pages of a common pool (forward_compiled.py): a sequence takes a page when it
grows into it, and gives its pages back when it ends. A fork shares the pages that are full.
"""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from groundup.inference.compiled import forward_compiled as kernels
from groundup.inference.compiled.attention_compiled import PAGE, padded
from groundup.inference.compiled.helping import Helping
from groundup.inference.compiled.pieces_compiled import LEFT, call, n_counters
from groundup.inference.compiled.shape import Shape
from groundup.inference.compiled.tiles import HAS_TILES, SHAPES
from groundup.inference.compiled.tiles_compiled import SUMS, TILE
from groundup.inference.compiled.weights import KINDS, NAMES, VECTORS, Matrix, Weights
from groundup.inference.runner import Work

MOST_IDS = 256
"""Of one pass; longer prompts go through in pieces."""
FIRST_PAGES = 16
PIECES_EACH = 4
"""Pieces of a product for each thread: more of them even out better, and each costs a tenth of a microsecond."""
SPINS = 200_000
"""How often a helper looks for work before it sleeps: about a millisecond."""


@dataclass(eq=False)
class State:
    """One sequence: where the keys and values of its first `length` ids lie."""

    pool: "Pool"
    pages: list[int] = field(default_factory=list)
    length: int = 0

    def truncate(self, length: int) -> None:
        """Forget the ids from `length` on. ValueError for more than there are."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length is {length}; valid values are 0 to {self.length}")
        with self.pool.turn:
            self.length = length
            keep = -(-self.length // PAGE)
            self.pool.give_back(self.pages[keep:])
            del self.pages[keep:]

    def make_room(self, end: int) -> None:
        """Pages for positions from `length` up to, not including, `end`, that nobody else reads."""
        place = self.length // PAGE
        if place < len(self.pages) and self.pool.users[self.pages[place]] > 1:  # cut into a page that a fork shares
            shared = self.pages[place]
            self.pages[place] = self.pool.copy(shared)
            self.pool.give_back([shared])
        while len(self.pages) * PAGE < end:
            self.pages.append(self.pool.take())

    def fork(self) -> "State":
        """A sequence that begins with the same ids and goes its own way."""
        with self.pool.turn:
            n_full = self.length // PAGE
            pages = list(self.pages[:n_full])
            self.pool.share(pages)
            for page in self.pages[n_full:]:
                pages.append(self.pool.copy(page))
            return State(self.pool, pages, self.length)

    def close(self) -> None:
        self.truncate(0)


class Pool:
    """Pages of keys and values, float32, see attention_compiled.py, and how many use each."""

    def __init__(self, shape: Shape):
        sizes = (0, shape.n_layers, shape.n_kv_heads, PAGE, padded(shape.head_dim))
        self.keys, self.values = np.zeros(sizes, np.float32), np.zeros(sizes, np.float32)
        self.users: list[int] = []
        self.free: list[int] = []
        self.turn = threading.RLock()
        """Held by whoever runs the model, or changes who uses which page."""

    def take(self) -> int:
        if not self.free:
            self._grow()
        page = self.free.pop()
        self.users[page] = 1
        return page

    def share(self, pages: Sequence[int]) -> None:
        for page in pages:
            self.users[page] += 1

    def copy(self, page: int) -> int:
        new = self.take()
        self.keys[new], self.values[new] = self.keys[page], self.values[page]
        return new

    def give_back(self, pages: Sequence[int]) -> None:
        for page in pages:
            self.users[page] -= 1
            if not self.users[page]:
                self.free.append(page)

    def _grow(self) -> None:
        """Half as many pages more. What lies in them is copied, which happens seldom."""
        n = len(self.users)
        more = max(FIRST_PAGES, n // 2)
        for name in ("keys", "values"):
            before = getattr(self, name)
            grown = np.zeros((n + more, *before.shape[1:]), np.float32)  # pages that nobody uses take no memory
            grown[:n] = before
            setattr(self, name, grown)
        self.users += [0] * more
        self.free += range(n + more - 1, n - 1, -1)


class CompiledRunner:
    """Runs a model. Threads may share it: they take turns."""

    name = "compiled"

    def __init__(
        self,
        shape: Shape,
        weights: Weights,
        *,
        is_interleaved: bool = False,
        n_threads: int = 0,
        uses_tiles: bool = HAS_TILES,
    ):
        self.shape, self.weights = shape, weights
        self.uses_tiles = uses_tiles and weights.layers[0].q.kind == "BF16"
        self.vocab_size, self.context_length = shape.vocab_size, shape.context_length
        self.bytes_per_position = shape.bytes_per_position
        self.n_threads = n_threads or n_cores()
        self.pool = Pool(shape)
        self._sizes = np.array(
            [
                shape.is_gpt2, shape.has_qk_norm, is_interleaved, ("silu", "gelu_tanh", "gelu").index(shape.activation),
                shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.n_layers,
            ],
            np.int64,
        )  # fmt: skip
        self._tables = tables(shape, weights)
        self._room = make_room(shape, self.n_threads, MOST_IDS, 1, uses_tiles=self.uses_tiles)
        self._batch = make_batch(shape, 1)
        self._helpers: Helpers | None = None
        self._helping = Helping()
        self._counters, self._n_alone = np.zeros(n_counters(n_phases(shape)), np.int64), 0

    @property
    def kept_as(self) -> str:
        """What people call the kind of its weights: a key of NAMES, or GGUF's name of another one."""
        kind = self.weights.layers[0].q.kind
        return next((name for name, each in NAMES.items() if each == kind), kind)

    @property
    def n_parameters(self) -> int:
        return self.weights.n_parameters

    def open(self) -> State:
        """A sequence without ids."""
        return State(self.pool)

    def run(self, work: Sequence[Work]) -> list[np.ndarray]:
        """Appends the ids of each piece of work to its state; float32 logits (vocab_size,) after the last of them, or
        (n, vocab_size) after each where `every`."""
        with self.pool.turn:
            found: list[list[np.ndarray]] = [[] for _ in work]
            for piece in self._passes(work):
                for number, logits in self._pass(work, piece):
                    found[number].append(logits)
        return [np.stack(rows) if one.every else rows[-1] for one, rows in zip(work, found, strict=True)]

    def _passes(self, work: Sequence[Work]) -> list[list[tuple[int, int, int]]]:
        """Pieces (number of the work, first id, beyond the last), in passes of at most MOST_IDS ids."""
        passes: list[list[tuple[int, int, int]]] = [[]]
        room = MOST_IDS
        for number, one in enumerate(work):
            first = 0
            while first < len(one.ids):
                if not room:
                    passes.append([])
                    room = MOST_IDS
                beyond = min(len(one.ids), first + room)
                passes[-1].append((number, first, beyond))
                room -= beyond - first
                first = beyond
        return passes

    def _pass(self, work: Sequence[Work], pieces: list[tuple[int, int, int]]) -> list[tuple[int, np.ndarray]]:
        wanted: list[tuple[int, int]] = []
        n = 0
        lengths = [work[number].state.length + beyond - first for number, first, beyond in pieces]
        most_pages = -(-max(lengths) // PAGE)
        self._batch = grown_batch(self._batch, len(pieces), most_pages)
        b = self._batch
        for row, (number, first, beyond) in enumerate(pieces):
            one, state = work[number], self._own(work[number])
            end = state.length + beyond - first
            state.make_room(end)
            b.pages[row, : len(state.pages)] = state.pages
            here = slice(n, n + beyond - first)
            b.ids[here], b.positions[here], b.sequences[here] = one.ids[first:beyond], range(state.length, end), row
            if one.every:
                wanted += [(number, n + i) for i in range(beyond - first)]
            elif beyond == len(one.ids):
                wanted.append((number, here.stop - 1))
            n = here.stop
        b.wanted[: len(wanted)] = [place for _, place in wanted]
        if len(self._room.logits) < len(wanted) or self._room.scores.shape[1] < most_pages * PAGE:
            longest = most_pages * PAGE
            self._room = make_room(
                self.shape, self.n_threads, MOST_IDS, len(wanted), longest, self._room, uses_tiles=self.uses_tiles
            )
        self._lead(n, len(wanted), self.uses_tiles and (n > 1 or any(one.in_company for one in work)))
        for number, first, beyond in pieces:
            self._own(work[number]).length += beyond - first
        return [(number, self._room.logits[i].copy()) for i, (number, _) in enumerate(wanted)]

    def _own(self, one: Work) -> State:
        """The state of a piece of work, which must be one of this runner's."""
        if not isinstance(one.state, State) or one.state.pool is not self.pool:
            raise ValueError("a state belongs to the runner that opened it")
        return one.state

    def _lead(self, n_ids: int, n_wanted: int, uses_tiles: bool) -> None:
        """One pass, alone or by all threads. Helpers are made anew where an array was replaced."""
        fixed = (
            self._sizes, np.float32(self.shape.norm_eps), np.float32(self.shape.attention_factor), self._tables,
            self._room, self.pool.keys, self.pool.values, self._batch,
        )  # fmt: skip
        began, is_small, sizes = time.perf_counter(), n_ids == 1, (n_ids, n_wanted, int(uses_tiles))
        is_alone = self.n_threads == 1 or (is_small and self._helping.alone(began))
        if is_alone:
            self._n_alone += 1
            kernels.forward(0, (self._n_alone, *sizes), 1, self._counters, *fixed)
        else:
            replaceable = (self._room, self.pool.keys, self._batch)
            if self._helpers is None or not self._helpers.serve(replaceable):
                if self._helpers is not None:
                    self._helpers.leave()
                self._helpers = Helpers(self.n_threads, n_phases(self.shape), fixed, replaceable)
            helpers = self._helpers
            kernels.forward(0, (helpers.call(*sizes), *sizes), helpers.n_pieces, helpers.counters, *fixed)
        if is_small:
            self._helping.took((ended := time.perf_counter()) - began, ended)

    def __del__(self) -> None:
        if getattr(self, "_helpers", None) is not None:
            self._helpers.leave()  # pyright: ignore[reportOptionalMemberAccess]


class Helpers:
    """The threads beside the one that calls. Between passes they look for work for a while, and then sleep."""

    def __init__(self, n_threads: int, n_phases: int, fixed: tuple[Any, ...], made_for: tuple):
        self.counters = np.zeros(n_counters(n_phases), np.int64)
        self.n_pieces = PIECES_EACH * n_threads
        self._made_for, self._process = made_for, os.getpid()
        self._awake = threading.Condition()
        self._number = self._n_asleep = 0
        for thread in range(1, n_threads):
            threading.Thread(target=self._work, args=(thread, fixed), daemon=True, name=f"groundup-{thread}").start()

    def serve(self, arrays: tuple) -> bool:
        """Are these the arrays that the threads know, and are the threads there? A forked process has none."""
        return self._process == os.getpid() and all(a is b for a, b in zip(arrays, self._made_for, strict=True))

    def call(self, n_ids: int, n_wanted: int, uses_tiles: int) -> int:
        """Begin a pass; its number. Who is looking sees it, who sleeps is woken, and none falls asleep in between."""
        with self._awake:
            self._number += 1
            call(self.counters, self._number, n_ids, n_wanted, uses_tiles)
            if self._n_asleep:
                self._awake.notify_all()
            return self._number

    def leave(self) -> None:
        """Nobody calls any more."""
        with self._awake:
            self.counters[LEFT] = 1
            self._awake.notify_all()

    def _work(self, thread: int, fixed: tuple[Any, ...]) -> None:
        number = 0
        while not self.counters[LEFT]:
            number = kernels.help_along(thread, number, SPINS, self.n_pieces, self.counters, *fixed)
            with self._awake:
                if self._number == number and not self.counters[LEFT]:
                    self._n_asleep += 1
                    self._awake.wait()
                    self._n_asleep -= 1


def n_phases(shape: Shape) -> int:
    """Of a pass: nine in a layer, one before them and two after."""
    return 9 * shape.n_layers + 3


def n_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tables(shape: Shape, weights: Weights) -> kernels.Weights:
    """The weights as the kernel takes them. They hold addresses: the Weights must outlive them."""

    def stacked(name: str) -> np.ndarray:
        rows = [layer.vectors.get(name, np.zeros(0, np.float32)) for layer in weights.layers]
        return np.ascontiguousarray(np.stack(rows), dtype=np.float32)

    def address(matrix: Matrix | None) -> int:
        return matrix.kept.ctypes.data if matrix is not None else 0

    names = ("q", "k", "v", "o", "gate", "up", "down")
    addresses = [[address(getattr(layer, name)) for name in names] for layer in weights.layers]
    kind = weights.layers[0].q.kind
    return kernels.Weights(
        kind=np.empty(0, KINDS[kind]), addresses=np.array(addresses, np.int64),
        embed=writable(weights.embed.kept), head=writable(weights.head.kept), positions=weights.positions,
        final_norm=weights.final_norm, final_norm_bias=weights.final_norm_bias, frequencies=shape.frequencies,
        **{name: stacked(name) for name in VECTORS},
    )  # fmt: skip


def writable(array: np.ndarray) -> np.ndarray:
    """The same memory, not marked read-only: numba would compile a second kernel for that."""
    if array.flags.writeable:
        return array
    numbers = np.ctypeslib.as_ctypes_type(array.dtype) * array.size
    return np.ctypeslib.as_array(numbers.from_address(array.ctypes.data)).reshape(array.shape)


def make_room(
    shape: Shape,
    n_threads: int,
    n_ids: int,
    n_wanted: int,
    longest: int = PAGE,
    before: Any = None,
    *,
    uses_tiles: bool,
) -> kernels.Room:
    """Arrays for passes of at most n_ids ids, the logits of n_wanted of them, and `longest` positions to attend to."""
    d, n_q, n_kv = shape.d_model, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    n_up, half = shape.d_ff if shape.is_gpt2 else 2 * shape.d_ff, len(shape.frequencies)
    if before is not None:  # doubled, so that this happens seldom
        n_wanted = max(len(before.logits), n_wanted)
        longest = max(before.scores.shape[1], 2 * longest)

    def room(*size: int) -> np.ndarray:
        return np.zeros(size, np.float32)

    def packed(n: int, columns: int) -> np.ndarray:
        n_groups = -(-n // TILE) if uses_tiles else 0
        return np.zeros((n_groups, 2, columns // 2, TILE), np.uint32)

    return kernels.Room(
        x=room(n_ids, d), h=room(n_ids, d), cos=room(n_ids, half), sin=room(n_ids, half),
        qkv=room(n_ids, n_q + 2 * n_kv), mixed=room(n_ids, n_q),
        up=room(n_ids, n_up), acted=room(n_ids, shape.d_ff), added=room(n_ids, d),
        asked=room(n_wanted, d), logits=room(n_wanted, shape.vocab_size), scores=room(n_threads, longest),
        mix=room(n_threads, padded(shape.head_dim)),
        h_packed=packed(n_ids, d), mixed_packed=packed(n_ids, n_q), acted_packed=packed(n_ids, shape.d_ff),
        asked_packed=packed(n_wanted, d), sums=room(n_threads, SUMS, TILE, TILE), tile_shapes=SHAPES,
    )  # fmt: skip


def make_batch(shape: Shape, n_sequences: int, most_pages: int = 0) -> kernels.Batch:
    most_pages = most_pages or -(-shape.context_length // PAGE) + 1

    def room(*size: int) -> np.ndarray:
        return np.zeros(size, np.int64)

    pages = np.zeros((n_sequences, most_pages), np.int32)
    return kernels.Batch(room(MOST_IDS), room(MOST_IDS), room(MOST_IDS), room(MOST_IDS), pages)


def grown_batch(batch: kernels.Batch, n_sequences: int, most_pages: int) -> kernels.Batch:
    """The same arrays, unless more sequences or longer ones than ever before make more room necessary."""
    rows, columns = batch.pages.shape
    if rows >= n_sequences and columns >= most_pages:
        return batch
    rows = rows if rows >= n_sequences else 2 * n_sequences
    columns = columns if columns >= most_pages else 2 * most_pages
    return batch._replace(pages=np.zeros((rows, columns), np.int32))
