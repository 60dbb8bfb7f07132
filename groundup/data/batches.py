"""Rows of ids to train on, each a pure function of (seed, step, row of the global batch).

Nothing here has a state: to resume is to ask for the next step, and a rank of a distributed run asks for its slice of
the rows. Two ways to fill a row of `context_length` positions:

    Windows  running text:   each row is a stretch of the corpus, whatever documents it crosses
    Packed   conversations:  each row holds whole conversations, numbered in `segments` so that none sees another

A row's targets are the ids that follow its ids; `IGNORE` stands where nothing is to be learned. A banned document is
neither read nor learned, and every other one stays in the step and row where it was; `ledger` tells which those are.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from groundup.data.shards import Split
from groundup.data.shuffling import key_of, mix, permute
from groundup.errors import DataError, UsageError

IGNORE = -100
EVERY_ROW = slice(None)
OPEN_ROWS = 64
"""Rows that `Packed` keeps open for a conversation that fits: more fill better, fewer keep the order better."""


@dataclass(frozen=True)
class Batch:
    """Rows for one step, B of them with T positions: `ids` and `targets` (B, T) int64.

    `segments` (B, T) int64 numbers the conversations of a row from 1, 0 is padding; None where a row is one text.
    `n_targets` counts the targets that are not `IGNORE`.
    """

    ids: Tensor
    targets: Tensor
    segments: Tensor | None
    n_targets: int

    def to(self, device: torch.device | str) -> "Batch":
        segments = None if self.segments is None else self.segments.to(device, non_blocking=True)
        return Batch(
            self.ids.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            segments,
            self.n_targets,
        )

    @property
    def positions(self) -> Tensor | None:
        """The index of each id in its own conversation, (B, T) int64; None where a row is one text."""
        if self.segments is None:
            return None
        here = torch.arange(self.segments.shape[1], device=self.segments.device).expand_as(self.segments)
        is_first = torch.ones_like(self.segments, dtype=torch.bool)
        is_first[:, 1:] = self.segments[:, 1:] != self.segments[:, :-1]
        return here - torch.where(is_first, here, 0).cummax(dim=1).values


def get_batch(
    ids,
    batch_size: int,
    context_length: int,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Random stretches of `ids` (array, memmap or tensor) and the same one position on: two (B, T) int64 tensors.

    For people who write their own loop. The draw is `torch.randint`, so a seeded generator repeats it.
    """
    if len(ids) < context_length + 1:
        raise _too_short("the data", len(ids), context_length)
    starts = torch.randint(len(ids) - context_length, (batch_size,), generator=generator).tolist()
    rows = torch.stack([_row_tensor(ids[start : start + context_length + 1]) for start in starts])
    return rows[:, :-1].to(device, non_blocking=True), rows[:, 1:].to(device, non_blocking=True)


def _row_tensor(row) -> Tensor:
    return row.to(torch.int64) if isinstance(row, Tensor) else torch.from_numpy(np.asarray(row).astype(np.int64))


def _too_short(what: str, n_ids: int, context_length: int) -> DataError:
    return DataError(
        f"{what} has {n_ids:,} token{'' if n_ids == 1 else 's'}, fewer than one row of {context_length:,} and the next",
        hint=f"use more text, or --context-length {max(1, min(context_length, n_ids) // 4)}",
    )


def _known(banned: frozenset[int], split: Split) -> frozenset[int]:
    wrong = sorted(document for document in banned if not 0 <= document < split.n_documents)
    if wrong:
        raise UsageError(
            f"document {wrong[0]} cannot be banned: the {split.name} split has the documents 0 to "
            f"{split.n_documents - 1:,}",
            hint="groundup data batch RUN --step N tells which documents a step has seen",
        )
    return banned


class Windows:
    """Rows of running text.

    sampler="epoch": the corpus is divided into windows of `context_length` targets, and each epoch visits every window
    once in an order of its own; the division starts at another place in each epoch, so that no border is always a
    border. sampler="random": every row starts anywhere. In place of a banned document stands its end id, as often as
    it has ids.
    """

    def __init__(
        self,
        split: Split,
        context_length: int,
        batch_size: int,
        seed: int = 0,
        sampler: str = "epoch",
        banned: frozenset[int] = frozenset(),
    ):
        if sampler not in ("epoch", "random"):
            raise UsageError(f"sampler {sampler!r} is not known", hint="epoch or random")
        self.split, self.context_length, self.batch_size = split, context_length, batch_size
        self.seed, self.sampler = seed, sampler
        self.banned = _known(banned, split)
        numbers = np.array(sorted(banned), dtype=np.int64)
        self._banned_starts = np.asarray(split.offsets[numbers]).astype(np.int64)
        self._banned_stops = np.asarray(split.offsets[numbers + 1]).astype(np.int64)
        # One window fewer than would fit leaves room to move the start by up to a whole window.
        self._n_windows = max(1, (len(split.ids) - 1) // context_length - 1)

    @property
    def n_rows_per_epoch(self) -> int:
        """Rows until every window was seen once. DataError if the text is shorter than one row."""
        if len(self.split.ids) < self.context_length + 1:
            raise _too_short(f"the {self.split.name} split", len(self.split.ids), self.context_length)
        return self._n_windows

    def epoch(self, step: int) -> float:
        """How many times the data has been seen before `step`."""
        return step * self.batch_size / self.n_rows_per_epoch

    def batch(self, step: int, rows: slice = EVERY_ROW) -> Batch:
        """The rows of step `step`, or the slice of them that belongs to one rank or micro-batch."""
        return self._read(self.starts(step * self.batch_size + np.arange(self.batch_size)[rows]))

    def fixed(self, n_rows: int = 0) -> list[Batch]:
        """`n_rows` windows spread over the file, all of them if 0, in batches: a yardstick for validation.

        Together, all predict each id once. The last window is filled up with ignored positions.
        """
        available = max(1, -(-(len(self.split.ids) - 1) // self.context_length))
        count = min(n_rows or available, available)
        if len(self.split.ids) < 2:
            raise _too_short(f"the {self.split.name} split", len(self.split.ids), self.context_length)
        starts = spread(count, available) * self.context_length
        return [self._read(starts[i : i + self.batch_size]) for i in range(0, count, self.batch_size)]

    def starts(self, numbers: np.ndarray) -> np.ndarray:
        """Where in the corpus the rows with these numbers, counted from the first of step 0, begin."""
        n_windows, spare = self.n_rows_per_epoch, len(self.split.ids) - 1 - self.context_length
        if self.sampler == "random":
            return (mix(numbers, key_of(self.seed, 0)) % np.uint64(spare + 1)).astype(np.int64)
        starts = np.empty(len(numbers), dtype=np.int64)
        slack = min(self.context_length - 1, len(self.split.ids) - 1 - n_windows * self.context_length)
        for epoch in np.unique(numbers // n_windows):
            key = key_of(self.seed, int(epoch))
            here = numbers // n_windows == epoch
            windows = permute(numbers[here] % n_windows, n_windows, key)
            starts[here] = windows * self.context_length + key % (slack + 1)
        return starts

    def _read(self, starts: np.ndarray) -> Batch:
        rows = np.zeros((len(starts), self.context_length + 1), dtype=np.int64)
        is_text = np.zeros(rows.shape, dtype=bool)
        for i, start in enumerate(starts.tolist()):
            ids = self.split.ids[start : start + self.context_length + 1]
            rows[i, : len(ids)], is_text[i, : len(ids)] = ids, True
            if self.banned:
                self._blank(start, rows[i], is_text[i])
        targets = np.where(is_text, rows, IGNORE)[:, 1:]
        return Batch(
            torch.from_numpy(rows[:, :-1].copy()),
            torch.from_numpy(targets.copy()),
            None,
            int(is_text[:, 1:].sum()),
        )

    def _blank(self, start: int, row: np.ndarray, is_text: np.ndarray) -> None:
        """Take banned documents out of the row (T + 1,) that begins at `start` in the corpus."""
        first = np.searchsorted(self._banned_stops, start, side="right")
        last = np.searchsorted(self._banned_starts, start + len(row), side="left")
        for begin, stop in zip(self._banned_starts[first:last], self._banned_stops[first:last], strict=True):
            here = slice(max(0, int(begin) - start), int(stop) - start)
            row[here], is_text[here] = self.split.ids[int(stop) - 1], False


class Packed:
    """Rows of whole conversations, as many in a row as fit, taken first fit in order.

    A conversation of n ids fills n - 1 positions, for its last id predicts nothing: targets never cross a border.
    With shuffle the order is drawn from the seed and each epoch visits the rows in an order of its own; without, rows
    follow the file. A conversation longer than a row is left out and counted in `n_too_long`: preparing the data with
    the same context length shortens such conversations where it can. In place of a banned one stands padding.
    """

    def __init__(
        self,
        split: Split,
        context_length: int,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        banned: frozenset[int] = frozenset(),
    ):
        if split.is_target is None:
            raise DataError(
                f"the {split.name} split has no marks of what to learn",
                hint="prepare conversations with `groundup data prepare --conversations`",
            )
        self.split, self.context_length, self.batch_size = split, context_length, batch_size
        self.seed, self.shuffle = seed, shuffle
        self.banned = _known(banned, split)

    @cached_property
    def _packing(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Conversations in the order of their rows, where each row begins in that list, and how many are too long."""
        lengths = np.diff(np.asarray(self.split.offsets).astype(np.int64)) - 1
        order = np.arange(len(lengths))
        if self.shuffle and len(order):
            order = permute(order, len(order), key_of(self.seed, 1))
        fits = (lengths[order] <= self.context_length) & (lengths[order] > 0)
        n_too_long = int((lengths > self.context_length).sum())
        order = order[fits]
        row = first_fit(lengths[order].tolist(), self.context_length)
        in_rows = np.argsort(row, kind="stable")
        row_starts = np.searchsorted(row[in_rows], np.arange(int(row.max(initial=-1)) + 2))
        return order[in_rows], row_starts, n_too_long

    @property
    def n_too_long(self) -> int:
        """Conversations that no row can hold."""
        return self._packing[2]

    @property
    def n_rows_per_epoch(self) -> int:
        """Rows that hold every conversation once. DataError if there is none."""
        n_rows = len(self._packing[1]) - 1
        if n_rows < 1:
            n, too_long = len(self.split.offsets) - 1, self.n_too_long
            raise DataError(
                f"the {self.split.name} split has no conversation that fits: {n} in all, {too_long} longer than "
                f"{self.context_length} tokens",
                hint="use a larger --context-length or more conversations",
            )
        return n_rows

    def epoch(self, step: int) -> float:
        """How many times the data has been seen before `step`."""
        return step * self.batch_size / self.n_rows_per_epoch

    def batch(self, step: int, rows: slice = EVERY_ROW) -> Batch:
        """The rows of step `step`, or the slice of them that belongs to one rank or micro-batch."""
        return self._read(self.places(step * self.batch_size + np.arange(self.batch_size)[rows]))

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the packed rows the rows with these numbers, counted from the first of step 0, are."""
        n_rows = self.n_rows_per_epoch
        places = numbers % n_rows
        if self.shuffle:
            for epoch in np.unique(numbers // n_rows):
                here = numbers // n_rows == epoch
                places[here] = permute(places[here], n_rows, key_of(self.seed, 2, int(epoch)))
        return places

    def fixed(self, n_rows: int = 0) -> list[Batch]:
        """`n_rows` rows spread over the file, all of them if 0, in batches: a yardstick for validation."""
        ordered = self
        if self.shuffle:
            ordered = Packed(self.split, self.context_length, self.batch_size, shuffle=False, banned=self.banned)
        rows = spread(min(n_rows or ordered.n_rows_per_epoch, ordered.n_rows_per_epoch), ordered.n_rows_per_epoch)
        return [ordered._read(rows[i : i + self.batch_size]) for i in range(0, len(rows), self.batch_size)]

    def conversations(self, row: int) -> np.ndarray:
        """Which conversations of the split stand in this row, in order."""
        order, row_starts, _ = self._packing
        return order[row_starts[row] : row_starts[row + 1]]

    def row_of(self, conversation: int) -> int | None:
        """The row in which a conversation stands; None for one that no row can hold."""
        order, row_starts, _ = self._packing
        found = np.flatnonzero(order == conversation)
        return int(np.searchsorted(row_starts, found[0], side="right")) - 1 if len(found) else None

    def _read(self, places: np.ndarray) -> Batch:
        shape = (len(places), self.context_length)
        ids, segments = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        targets = np.full(shape, IGNORE, dtype=np.int64)
        assert self.split.is_target is not None
        for i, place in enumerate(places.tolist()):
            position = 0
            for segment, conversation in enumerate(self.conversations(place).tolist(), start=1):
                start, stop = int(self.split.offsets[conversation]), int(self.split.offsets[conversation + 1])
                said = self.split.ids[start:stop].astype(np.int64)
                here = slice(position, position + len(said) - 1)
                position = here.stop
                if conversation in self.banned:
                    continue
                ids[i, here] = said[:-1]
                targets[i, here] = np.where(self.split.is_target[start + 1 : stop] != 0, said[1:], IGNORE)
                segments[i, here] = segment
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(targets),
            torch.from_numpy(segments),
            int((targets != IGNORE).sum()),
        )


def spread(n: int, available: int) -> np.ndarray:
    """`n` of the numbers below `available`, evenly: a file often begins with what is easy, or is all by one author.

    >>> spread(3, 7).tolist()
    [0, 2, 4]
    """
    return np.arange(n) * available // n


def first_fit(lengths: list[int], room: int) -> np.ndarray:
    """The row of each length: the earliest of the last `OPEN_ROWS` rows that still has room, else a new row.

    >>> first_fit([6, 5, 3, 2], room=8).tolist()
    [0, 1, 1, 0]
    """
    rows = np.empty(len(lengths), dtype=np.int64)
    first, left = 0, []
    for i, length in enumerate(lengths):
        fitting = next((j for j, space in enumerate(left) if space >= length), None)
        if fitting is None:
            left.append(room)
            if len(left) > OPEN_ROWS:
                left.pop(0)
                first += 1
            fitting = len(left) - 1
        left[fitting] -= length
        rows[i] = first + fitting
    return rows
