"""Texts of every size brought into one form: many short ones joined in a buffer, a long one cut into segments.

A long text is cut where no named pattern has a piece: between a letter and a mark or space. Words end with their
letters, but for an apostrophe; so both sides split into the same pieces as the whole.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

SEGMENT = 2**18
"""Bytes; with what belongs to them they fit the second-level cache of a processor."""

WINDOW = 2**10

BORDER = re.compile(rb"(?:[A-Za-z]|[\xe5-\xe8][\x80-\xbf]{2})(?=[ \n\r\t,.;:!?)]|\xef\xbc\x8c|\xe3\x80\x82)")
"""A letter, of English or Chinese, before a space, a mark, `，` or `。`."""


@dataclass(frozen=True)
class Job:
    """Texts, or parts of one, that lie in one buffer: part i is `data[borders[i]:borders[i + 1]]`.

    data: uint8, read-only. borders: int64, one more than parts. is_last: bool, whether a text ends with the part.
    """

    data: np.ndarray
    borders: np.ndarray
    is_last: np.ndarray

    @cached_property
    def n_bytes(self) -> int:
        return int(self.borders[-1] - self.borders[0])

    @property
    def bytes(self) -> np.ndarray:
        return self.data[self.borders[0] : self.borders[-1]]

    def parts(self) -> list:
        borders = self.borders.tolist()
        return [self.data[start:stop].tobytes() for start, stop in zip(borders, borders[1:], strict=False)]


def jobs(texts: Iterable[bytes], *, may_cut: bool = True) -> Iterator[Job]:
    """All texts in order, short ones joined, long ones cut. Only for a named pattern `may_cut` be true."""
    waiting: list[bytes] = []
    size = 0
    for text in texts:
        is_long = len(text) >= SEGMENT // 4
        if waiting and (is_long or size >= SEGMENT):
            yield _joined(waiting)
            waiting, size = [], 0
        if is_long:
            yield from cut(text) if may_cut else (_joined([text]),)
        else:
            waiting.append(text)
            size += len(text)
    if waiting:
        yield _joined(waiting)


def _joined(texts: list[bytes]) -> Job:
    borders = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=borders[1:])
    return Job(as_array(b"".join(texts)), borders, np.ones(len(texts), bool))


def cut(text) -> Iterator[Job]:
    """One text of any size, bytes or a memory map, in segments; nothing is copied."""
    data = as_array(text)
    for start, stop in segments(text):
        yield Job(data, np.array([start, stop], np.int64), np.array([stop == len(text)]))


def as_array(data) -> np.ndarray:
    """Bytes as the kernels take them: a read-only array over the same memory."""
    array = np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
    array.flags.writeable = False
    return array


def segments(data, size: int = SEGMENT) -> Iterator[tuple[int, int]]:
    """Start and end of each segment of some bytes: about `size` each, longer where there is no border."""
    start = 0
    while start < len(data):
        stop = next_border(data, start + size) if len(data) - start > size else len(data)
        yield start, stop
        start = stop


def next_border(data, at: int) -> int:
    """The first border from `at` on, or the end."""
    found = BORDER.search(data, at)
    return found.end() if found else len(data)


def last_border(data: bytes) -> int:
    """The last border, 0 if there is none."""
    stop = len(data)
    while stop > 0:
        start = max(0, stop - WINDOW)
        borders = [found.end() for found in BORDER.finditer(data, start)]
        if borders:
            return borders[-1]
        stop = start
    return 0
