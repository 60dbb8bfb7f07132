"""Which document was seen when: the documents of any step, and the steps and rows of any document.

Batches are pure functions of the step, so nothing was written down for this while the run trained: the same functions
are asked again, for the places of the rows and not for their ids. Steps count from 0 here, as in `batches.batch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from groundup.data.batches import EVERY_ROW, Packed, Windows
from groundup.errors import UsageError

NUMBERS_AT_ONCE = 2**18


@dataclass(frozen=True, slots=True)
class Span:
    """In row `row` of the global batch, from position `at` on, stand the ids `start` to `stop` of a document.

    The last id of a row is only predicted, so spans of a row have together one id more than the row has positions.
    Banned documents have no spans.
    """

    row: int
    document: int
    start: int
    stop: int
    at: int


@dataclass(frozen=True, slots=True)
class Place:
    """A step and a row of its global batch."""

    step: int
    row: int


def spans(batches: Windows | Packed, step: int, rows: slice = EVERY_ROW) -> list[Span]:
    """Every stretch of a document in the rows of a step, in the order in which they stand there."""
    in_batch = np.arange(batches.batch_size)[rows]
    numbers = step * batches.batch_size + in_batch
    found: list[Span] = []
    if isinstance(batches, Packed):
        for row, place in zip(in_batch.tolist(), batches.places(numbers).tolist(), strict=True):
            at = 0
            for document in batches.conversations(place).tolist():
                length = int(batches.split.offsets[document + 1]) - int(batches.split.offsets[document])
                if document not in batches.banned:
                    found.append(Span(row, document, 0, length, at))
                at += length - 1  # the last id predicts nothing, so it takes no position
        return found
    for row, start in zip(in_batch.tolist(), batches.starts(numbers).tolist(), strict=True):
        found += _spans_of_window(batches, row, start)
    return found


def _spans_of_window(windows: Windows, row: int, start: int) -> Iterator[Span]:
    offsets = windows.split.offsets
    stop = min(start + windows.context_length + 1, len(windows.split.ids))
    first = int(np.searchsorted(offsets, np.uint64(start), side="right")) - 1
    last = int(np.searchsorted(offsets, np.uint64(stop), side="left"))
    for document in range(first, last):
        begin, end = int(offsets[document]), int(offsets[document + 1])
        here, there = max(begin, start), min(end, stop)
        if here < there and document not in windows.banned:
            yield Span(row, document, here - begin, there - begin, here - start)


def documents(batches: Windows | Packed, steps: list[int]) -> list[int]:
    """The documents of these steps, each once, in order of their numbers."""
    return sorted({span.document for step in steps for span in spans(batches, step)})


def places(batches: Windows | Packed, document: int, n_steps: int) -> Iterator[Place]:
    """The inverse: the steps and rows in which a document has an id, in the first `n_steps` steps of a run.

    Asks for the place of every row of those steps, some millions a second. UsageError if there is no such document.
    """
    split = batches.split
    if not 0 <= document < split.n_documents:
        raise UsageError(
            f"there is no document {document}", hint=f"the {split.name} split has 0 to {split.n_documents - 1:,}"
        )
    begin, end = int(split.offsets[document]), int(split.offsets[document + 1])
    if document in batches.banned:
        return
    packed_row = batches.row_of(document) if isinstance(batches, Packed) else None
    n_numbers = n_steps * batches.batch_size
    for first in range(0, n_numbers, NUMBERS_AT_ONCE):
        numbers = np.arange(first, min(first + NUMBERS_AT_ONCE, n_numbers))
        if isinstance(batches, Packed):
            is_there = batches.places(numbers) == (-1 if packed_row is None else packed_row)
        else:
            starts = batches.starts(numbers)
            is_there = (starts < end) & (starts + batches.context_length + 1 > begin)
        for number in numbers[is_there].tolist():
            yield Place(*divmod(number, batches.batch_size))
