"""CachePool: keys and values of many sequences, each of its own length, that come and go.

    row 0   a b c d e f . .     length 6     Every sequence begins at position 0 of its row. New ones are written
    row 1   a b . . . . . .     length 2     where it ends, and a mask hides what lies beyond: nothing is moved when
    row 2   a b c d . . . .     length 4     others join, grow or leave.

A forward runs rows that lie side by side, so it reads them as one view. `CacheRows` is that view: what layers take for
a KVCache of that batch. The simple KVCache of cache.py, whose rows all have one length, says the same for the textbook.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from groundup.layers.cache import KVCache

STEP = 256
"""Positions by which the rows grow: fewer copies than one by one, less memory than all at once."""


class CachePool:
    """Rows of room for keys, values and ids, which grow in number and in length as they are needed.

    Size in bytes: 2 · n_layers · n_rows · n_kv_heads · n_positions · head_dim · bytes per number. On a CPU the system
    gives memory for what has been written only.
    """

    def __init__(
        self,
        n_layers: int,
        n_kv_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        self._shape = (n_layers, n_kv_heads, head_dim)
        self._dtype, self._device = dtype, device
        self.version = 0
        """Another number whenever keys and values lie elsewhere."""
        self.release()

    def release(self) -> None:
        """Gives all room back."""
        n_layers, n_kv_heads, head_dim = self._shape
        self.n_rows = self.n_positions = 0
        self.version += 1
        # One tensor for each layer, so that growing needs the old and the new of one layer only at the same time.
        empty = torch.zeros(0, n_kv_heads, 0, head_dim, dtype=self._dtype, device=self._device)
        self.keys, self.values = [empty] * n_layers, [empty] * n_layers
        self.ids = torch.zeros(0, 0, dtype=torch.int64, device=self._device)

    def reserve(self, n_rows: int, n_positions: int) -> None:
        """Makes room for so many rows and positions at least; what is there stays."""
        if n_rows <= self.n_rows and n_positions <= self.n_positions:
            return
        if n_rows > self.n_rows:
            n_rows = max(n_rows, self.n_rows * 3 // 2)  # sequences that join one by one shall not copy all each time
        n_rows = max(n_rows, self.n_rows)
        n_positions = max(-(-n_positions // STEP) * STEP, self.n_positions)

        def grown(old: Tensor) -> Tensor:
            # Zeros, because a mask takes a number away and not what is no number.
            new = old.new_zeros(n_rows, *old.shape[1:-2], n_positions, *old.shape[3:])
            new[: old.shape[0], ..., : old.shape[2], :] = old
            return new

        for layer in range(len(self.keys)):
            self.keys[layer], self.values[layer] = grown(self.keys[layer]), grown(self.values[layer])
        ids = self.ids.new_zeros(n_rows, n_positions)
        ids[: self.ids.shape[0], : self.ids.shape[1]] = self.ids
        self.ids, self.n_rows, self.n_positions = ids, n_rows, n_positions
        self.version += 1

    def copy(self, source: int, target: int, length: int) -> None:
        """Row `target` becomes what the first `length` positions of row `source` are."""
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length] = tensor[source, :, :length]
        self.ids[target, :length] = self.ids[source, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Two rows change places, with their first `length` positions."""
        for tensor in (*self.keys, *self.values):
            tensor[[one, other], :, :length] = tensor[[other, one], :, :length]
        self.ids[[one, other], :length] = self.ids[[other, one], :length]


class CacheRows(KVCache):
    """B rows of a pool from `first` on, as one forward with T new ids for each sees them.

    lengths: of each row, before these ids. n_new: how many of the T are real, those on the left; the others are
    written, too, and are nothing: no real one sees them, and they are written over later.
    reach: how many positions back the layers look at most, if one of them has a window; None if none has.

    The forward is to be called with `positions`, (1 or B, T), and `mask`, (B, 1, T, S) or None.
    """

    def __init__(
        self, pool: CachePool, first: int, lengths: Sequence[int], n_new: Sequence[int], *, reach: int | None = None
    ):
        self.pool = pool
        self.rows = slice(first, first + len(lengths))
        self.length, self.T = max(lengths), max(n_new)
        self.end = self.length + self.T
        if self.end > pool.n_positions:
            raise ValueError(f"the pool has room for {pool.n_positions} positions, and {self.end} are needed")

        device = pool.ids.device
        self.mask: Bool[Tensor, "B 1 T S"] | None = None
        self.slots: Int[Tensor, "B T"] | None = None
        """Where the new ids go; None where all rows have one length, so that they go to the same place in each."""
        self.aligned: Int[Tensor, "B S"] | None = None
        """Where to look for the S positions that end with the new ones; None for all of them as they lie."""
        if min(lengths) == self.length:
            self.positions = torch.arange(self.length, self.end, device=device)[None]
        else:
            start, count = torch.tensor([lengths, n_new], device=device)[:, :, None]
            self._lay_apart(start, count, reach)

    def _lay_apart(self, start: Int[Tensor, "B 1"], n_new: Int[Tensor, "B 1"], reach: int | None) -> None:
        """Rows that end each at a place of its own."""
        device = start.device
        steps = torch.arange(self.T, device=device)
        self.row = torch.arange(len(start), device=device)[:, None]
        self.slots = start + steps
        # What is nothing stays at a position that there is: one beyond the context may have no embedding.
        self.positions = start + torch.minimum(steps, n_new - 1)
        seen = torch.arange(self.end, device=device)[None]
        if reach is not None:
            # A layer with a window takes its queries for the last of the keys. So each row is laid to end with them.
            S = min(self.end, reach + self.T - 1)
            seen = start + self.T - S + torch.arange(S, device=device)
            self.aligned = seen.clamp(min=0)
        is_before = (seen[:, None, :] <= self.slots[:, :, None]) & (seen >= 0)[:, None, :]
        self.mask = is_before[:, None]

    def append(
        self, layer: int, k: Float[Tensor, "B n_kv_heads T head_dim"], v: Float[Tensor, "B n_kv_heads T head_dim"]
    ) -> tuple[Float[Tensor, "B n_kv_heads S head_dim"], Float[Tensor, "B n_kv_heads S head_dim"]]:
        """Stores the new positions of one layer, and returns those that are looked at."""
        return self._store(self.pool.keys[layer][self.rows], k), self._store(self.pool.values[layer][self.rows], v)

    def _store(self, stored: Tensor, new: Tensor) -> Tensor:
        if self.slots is None:
            stored[:, :, self.length : self.end] = new
            return stored[:, :, : self.end]
        stored[self.row, :, self.slots] = new.transpose(1, 2).to(stored.dtype)
        if self.aligned is None:
            return stored[:, :, : self.end]
        return stored[self.row, :, self.aligned].transpose(1, 2)

    def remember(self, ids: Int[Tensor, "B T"]) -> Int[Tensor, "B S"]:
        """Stores the new ids, and returns all S = end ids of each row so that the new ones are the last."""
        stored = self.pool.ids[self.rows]
        if self.slots is None:
            stored[:, self.length : self.end] = ids
            return stored[:, : self.end]
        stored[self.row, self.slots] = ids
        back = torch.arange(1 - self.end, 1, device=ids.device)
        return stored[self.row, (self.slots[:, -1:] + back).clamp(min=0)]

    def keep(self, rows: Int[Tensor, " n_kept"]) -> None:
        raise NotImplementedError("rows of a pool are chosen when they are taken from it")


class RecordedRows(CacheRows):
    """B rows with one new id each, whose lengths stand in a tensor: a recorded forward can run again with others.

    start: the lengths, at most `end - 1`, but for rows whose logits nobody reads.
    """

    def __init__(self, pool: CachePool, first: int, start: Int[Tensor, "B 1"], end: int, *, reach: int | None = None):
        self.pool = pool
        self.rows = slice(first, first + len(start))
        self.length, self.T, self.end = end - 1, 1, end
        self.aligned = None
        self._lay_apart(start, torch.ones_like(start), reach)
