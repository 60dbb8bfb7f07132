"""Tables that grow by one row at a time and survive a killed process: JSON lines, and a CSV copy of them.

A row is complete when its line end is there. A last line without one was torn by a kill or a full disk: reading
passes over it, and `cut_torn` removes it before more is appended. A damaged line anywhere else is not guessed at but
reported.

A run of two million steps has a table of hundreds of megabytes, so what happens at its end is done from its end.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from groundup.errors import ArtefactError

Row = dict[str, Any]
BLOCK = 1 << 20


def read(path: Path) -> Iterator[Row]:
    """The complete rows of a .jsonl table, in constant memory; none if the file is missing."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            yield _parsed(line, f"{path}:{number}")


def backwards(path: Path) -> Iterator[Row]:
    """The complete rows from the last to the first, reading no more of the file than is asked for."""
    for _, line in _lines_backwards(path):
        yield _parsed(line, f"{path}, near its end")


def cut_torn(path: Path) -> None:
    """Cut off a last line that has no end."""
    if path.exists():
        _truncate(path, next((start + len(line) for start, line in _lines_backwards(path)), 0))


def cut_end(path: Path, is_later: Callable[[Row], bool]) -> None:
    """Cut off the last rows that are torn, damaged or later; one truncation, so never half-done.

    A power cut may leave anything where rows were not synced yet.
    """
    if not path.exists():
        return
    end = 0
    for start, line in _lines_backwards(path):
        with contextlib.suppress(ArtefactError):
            if not is_later(_parsed(line, str(path))):
                end = start + len(line)
                break
    _truncate(path, end)


def _truncate(path: Path, size: int) -> None:
    if size != path.stat().st_size:
        os.truncate(path, size)


def _lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """(where it begins, line with its end) from the last complete line to the first."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start, held = file.seek(0, os.SEEK_END), b""
        while start:
            begin = max(0, start - BLOCK)
            file.seek(begin)
            held = file.read(start - begin) + held
            start = begin
            # Up to its first line end, what is held may be the end of a line that begins in the block before.
            first = held.find(b"\n") + 1 if start else 0
            if start and not first:
                continue
            *lines, torn = held[first:].split(b"\n")
            end = start + len(held) - len(torn)
            held = held[:first]
            for line in reversed(lines):
                end -= len(line) + 1
                yield end, line + b"\n"


def _parsed(line: bytes, where: str) -> Row:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ArtefactError(f"a line is damaged: {error}", where=where) from error
    if not isinstance(row, dict):
        raise ArtefactError("a line is not a JSON object", where=where)
    return row


class JsonLines:
    """A .jsonl table to append to; the file appears with its first row. NaN and infinities become null."""

    def __init__(self, path: Path):
        self._lines = _Appender(path)

    def append(self, row: Mapping[str, Any]) -> Row:
        """Write the row and return it as it will be read."""
        line = orjson.dumps(dict(row), default=str, option=orjson.OPT_SERIALIZE_NUMPY)
        self._lines.append(line + b"\n")
        return orjson.loads(line)

    def sync(self) -> None:
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()


class CsvCopy:
    """The rows of a .jsonl table as CSV, written anew under a wider header when a row brings a new column."""

    def __init__(self, path: Path, source: Path):
        self._path = path
        self._source = source
        self._columns: list[str] = []
        self._lines = _Appender(path)
        self.cut_end()

    def cut_end(self) -> None:
        """Cut off what the source does not have (any more); where their ends still differ, write all anew."""
        last = next(backwards(self._source), None)
        header = _header(self._path)
        if last is None or header[:1] != ["step"]:
            return self.rebuild()
        end, newest = 0, None
        for start, line in _lines_backwards(self._path):
            step = line.partition(b",")[0].strip()
            if start == 0 or not step.isdigit() or int(step) <= last["step"]:
                end, newest = start + len(line), line
                break
        if newest != _csv_line([last.get(name) for name in header]) or not last.keys() <= set(header):
            return self.rebuild()
        self._columns = header
        return _truncate(self._path, end)

    def append(self, row: Row) -> None:
        """Add the row that was just added to the source."""
        if row.keys() <= set(self._columns):
            self._lines.append(_csv_line([row.get(column) for column in self._columns]))
        else:
            self.rebuild()

    def rebuild(self) -> None:
        """Write the whole copy, columns in the order in which they first appear, and put it in place by a rename."""
        if not self._source.exists():
            return
        self._columns = list(dict.fromkeys(key for row in read(self._source) for key in row))
        temporary = self._path.with_name(f".{self._path.name}.new")
        try:
            with temporary.open("wb") as file:
                file.write(_csv_line(self._columns))
                file.writelines(_csv_line([row.get(column) for column in self._columns]) for row in read(self._source))
            self._lines.close()
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)

    def sync(self) -> None:
        self._lines.sync()

    def close(self) -> None:
        self._lines.close()


class _Appender:
    """Whole lines or nothing at the end of a file, handed to the system at once."""

    def __init__(self, path: Path):
        self._path = path
        self._file: io.FileIO | None = None
        self._closing = threading.Lock()  # the thread that saves a checkpoint syncs what another one may close

    def append(self, line: bytes) -> None:
        if self._file is None:
            self._file = io.FileIO(self._path, "ab")
        end = os.fstat(self._file.fileno()).st_size
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:]) or 0
        except OSError:
            # A full disk takes a part of the line; the next row must not be glued to it.
            with contextlib.suppress(OSError):
                os.truncate(self._path, end)
            raise

    def sync(self) -> None:
        with self._closing:
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        with self._closing:
            if self._file is not None:
                self._file.close()
                self._file = None


def _header(path: Path) -> list[str]:
    """The columns of a CSV file; none if there is no such file."""
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])
    return []


def _csv_line(cells: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue().encode()
