"""Tables that grow by one row at a time and survive a killed process: JSON lines, and a CSV copy of them.

A row is complete when its line end is there. A last line without one was torn by a kill or a full disk: reading
passes over it, and `cut` removes it before more is appended. A damaged line anywhere else is not guessed at but
reported.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from groundup.errors import ArtefactError

Row = dict[str, Any]


def read(path: Path) -> Iterator[Row]:
    """The complete rows of a .jsonl table, in constant memory; none if the file is missing."""
    for _, row in _rows(path):
        yield row


def cut(path: Path, keep: Callable[[Row], bool] = lambda row: True) -> None:
    """Cut the table before its first row that is torn or not to be kept; one truncation, so never half-done."""
    if not path.exists():
        return
    end_of_kept = 0
    for end, row in _rows(path):
        if not keep(row):
            break
        end_of_kept = end
    if end_of_kept != path.stat().st_size:
        os.truncate(path, end_of_kept)


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(offset of the end of the line, row)."""
    if not path.exists():
        return
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            end += len(line)
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ArtefactError(f"a line is damaged: {error}", where=f"{path}:{number}") from error
            if not isinstance(row, dict):
                raise ArtefactError("a line is not a JSON object", where=f"{path}:{number}")
            yield end, row


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
        self.rebuild()

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

    def close(self) -> None:
        self._lines.close()


class _Appender:
    """Whole lines or nothing at the end of a file, handed to the system at once."""

    def __init__(self, path: Path):
        self._path = path
        self._file: io.FileIO | None = None

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
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _csv_line(cells: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue().encode()
