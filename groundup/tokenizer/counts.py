"""How often each distinct piece of a corpus occurs: all that training looks at.

Kept in a folder, counts let training resume, go on to a larger vocabulary, or join corpora that were counted apart.
"""

import heapq
import shutil
import struct
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from groundup import artifact
from groundup.errors import ArtefactError, DataError

KIND = "groundup piece counts"
FILES = {"pieces": np.uint8, "offsets": np.int64, "counts": np.int64}


@dataclass(frozen=True)
class Counts:
    """Piece i is `pieces[offsets[i]:offsets[i + 1]]` (uint8) and occurs `counts[i]` times (int64).

    pattern: what split the text. special_tokens: where it was cut. n_bytes: of text. keep: what has to live as long,
    such as the folder of arrays that are on disk.
    """

    pieces: np.ndarray
    offsets: np.ndarray
    counts: np.ndarray
    pattern: str
    special_tokens: tuple[str, ...] = ()
    n_bytes: int = 0
    keep: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.counts)

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Each piece and its count."""
        borders = self.offsets
        for i, count in enumerate(self.counts.tolist()):
            yield self.pieces[borders[i] : borders[i + 1]].tobytes(), count

    def save(self, folder: Path | str, *, replace: bool = False) -> None:
        """Write the counts into a folder of their own."""
        facts = {
            "kind": KIND,
            "pattern": self.pattern,
            "special_tokens": list(self.special_tokens),
            "n_bytes": self.n_bytes,
            "n_pieces": len(self),
        }
        with artifact.writing(folder, facts, replace=replace) as inside:
            for name, dtype in FILES.items():
                (inside / f"{name}.bin").write_bytes(np.ascontiguousarray(getattr(self, name), dtype).data)

    @staticmethod
    def load(folder: Path | str) -> "Counts":
        """Open the counts of a folder; the arrays stay on disk. ArtefactError on none, or damaged ones."""
        folder = Path(folder)
        facts = artifact.verify(folder)
        if facts.get("kind") != KIND:
            raise ArtefactError("this folder does not hold the counts of pieces", where=str(folder))
        arrays = {name: open_array(folder / f"{name}.bin", dtype) for name, dtype in FILES.items()}
        offsets, counts = arrays["offsets"], arrays["counts"]
        is_whole = len(offsets) == len(counts) + 1 and offsets[0] == 0 and offsets[-1] == len(arrays["pieces"])
        if not is_whole or (np.diff(offsets) <= 0).any() or (counts <= 0).any():
            raise ArtefactError("the counts of pieces in this folder are damaged", where=str(folder))
        return Counts(**arrays, pattern=facts["pattern"], special_tokens=tuple(facts["special_tokens"]),
                      n_bytes=facts["n_bytes"])  # fmt: skip

    def check_same_kind(self, other: "Counts") -> None:
        """DataError if the two were split or cut differently, so that joined they would be counts of nothing."""
        for what in ("pattern", "special_tokens"):
            if getattr(self, what) != getattr(other, what):
                raise DataError(f"the counts differ in {what}: {getattr(self, what)!r} and {getattr(other, what)!r}")


def open_array(file: Path, dtype: type) -> np.ndarray:
    """A file as an array that is not read before it is looked at; what is written to it stays in memory."""
    return np.asarray(np.memmap(file, dtype, mode="c")) if file.stat().st_size else np.zeros(0, dtype)


def plain(array: np.ndarray) -> np.ndarray:
    """An array of numbers as the kernels take it: int64 and writable, so that numba compiles one form only."""
    is_plain = array.dtype == np.int64 and array.flags.c_contiguous and array.flags.writeable
    return array if is_plain else np.array(array, np.int64)


def is_counts(path: Path | str) -> bool:
    """Is there a folder of counts?"""
    return (Path(path) / "counts.bin").is_file() and (Path(path) / artifact.MANIFEST).is_file()


def from_items(items: Iterable[tuple[bytes, int]], pattern: str, **facts: Any) -> Counts:
    """Counts from pieces and their counts, each piece once."""
    pieces, lengths, counts = bytearray(), [0], []
    for piece, count in items:
        pieces += piece
        lengths.append(len(piece))
        counts.append(count)
    arrays = np.frombuffer(bytes(pieces), np.uint8), np.cumsum(lengths, dtype=np.int64), np.array(counts, np.int64)
    return Counts(*arrays, pattern, **facts)


class Scratch:
    """A temporary folder that goes with the last who holds it."""

    def __init__(self):
        self.path = Path(tempfile.mkdtemp(prefix="groundup-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class Spill:
    """A plain count that does not outgrow memory: what is too much is sorted and written to a temporary file.

    >>> spill = Spill(most=2)
    >>> spill.add({b"a": 1, b"b": 1, b"c": 1}); spill.add({b"b": 2})
    >>> list(spill.items())
    [(b'a', 1), (b'b', 3), (b'c', 1)]
    """

    def __init__(self, most: int):
        self.most = most
        self._counted: Counter[bytes] = Counter()
        self._runs: list[Any] = []

    def add(self, counted: dict[bytes, int]) -> None:
        self._counted.update(counted)
        if len(self._counted) > self.most:
            run = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this
            for piece, count in sorted(self._counted.items()):
                run.write(struct.pack("<QQ", len(piece), count) + piece)
            self._runs.append(run)
            self._counted.clear()

    def items(self) -> Iterator[tuple[bytes, int]]:
        """Every piece once, with its whole count, in order. The counter is empty afterwards."""
        runs = [_read_run(run) for run in self._runs] + [iter(sorted(self._counted.items()))]
        for piece, found in groupby(heapq.merge(*runs), key=itemgetter(0)):
            yield piece, sum(count for _, count in found)
        for run in self._runs:
            run.close()
        self._counted, self._runs = Counter(), []


def _read_run(run: Any) -> Iterator[tuple[bytes, int]]:
    run.seek(0)
    while header := run.read(16):
        length, count = struct.unpack("<QQ", header)
        yield run.read(length), count
