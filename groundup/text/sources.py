"""Files and folders to documents, as a stream in constant memory.

    .txt .md      one document a file, or as many as `<|endoftext|>` separates; a long one comes in pieces of 1 MiB
    .jsonl .json  one document a row, from the field `text`; rows are lines, or the elements of one JSON array

Each also as .gz .xz .zst .bz2, and inside .tar or .zip. Which files there are is found in files.py, how bytes come
out of archives is in archives.py, how they become text in decoding.py. Nothing is left out without a word.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any

import orjson

from groundup.errors import DataError
from groundup.text.archives import opened, plain_name
from groundup.text.decoding import BLOCK, byte_order_mark, text_of
from groundup.text.files import ROW_ENDINGS, Notice, files, ignore, streams
from groundup.text.records import Document

SEPARATOR = "<|endoftext|>"
LONGEST = 2**20
"""Bytes of a document in UTF-8; a longer text is cut at a blank line, a line end or a space."""
LONGEST_ROW = 2**26
"""Bytes of a row of JSON lines; a longer one cannot be held in memory for sure and is a bad row."""
CONTINUATIONS = bytes(range(0x80, 0xC0))


SKIP_HINT = "--max-bad N leaves out up to N such rows, --max-bad 0.01 one in a hundred"


class Tolerance:
    """Counts rows that cannot be used and raises `DataError` when there are more than allowed.

    max_bad: from 1 on a number of rows, below 1 a share of them; 0 allows none.
    """

    def __init__(self, max_bad: float = 0):
        self.max_bad = max_bad
        self.n_rows = 0
        self.count_by_reason: Counter[str] = Counter()

    @property
    def n_bad(self) -> int:
        return self.count_by_reason.total()

    def refuse(self, where: str, reason: str, hint: str | None = None) -> None:
        """Count one bad row; `reason` is what all rows like it have in common."""
        self.count_by_reason[reason] += 1
        # A share is judged when enough rows were seen for one bad row not to be a large share of them.
        allowed = self.max_bad if self.max_bad >= 1 else self.max_bad * max(self.n_rows, 1000)
        if self.n_bad > allowed:
            what = reason if self.n_bad == 1 else f"{self.n_bad:,} rows cannot be used: {self.summary()}"
            raise DataError(what, where=where, hint=hint or SKIP_HINT)

    def finish(self, notice: Notice = ignore) -> None:
        """All rows were seen: judge the share, and say what was left out."""
        if 0 < self.max_bad < 1 and self.n_bad > self.max_bad * self.n_rows:
            share = f"{self.n_bad:,} of {self.n_rows:,} rows cannot be used, allowed are {self.max_bad:.2%}"
            raise DataError(f"{share}: {self.summary()}", hint=SKIP_HINT)
        if self.n_bad:
            notice(f"left out {self.n_bad:,} of {self.n_rows:,} rows: {self.summary()}")

    def summary(self) -> str:
        """The reasons with their counts, the commonest first."""
        return "; ".join(f"{n:,} x {reason}" for reason, n in self.count_by_reason.most_common(5))


# --- documents ---


def documents(
    paths: Sequence[Path | str],
    *,
    field: str = "text",
    separator: str = SEPARATOR,
    max_bad: float = 0,
    notice: Notice = ignore,
) -> Iterator[Document]:
    """The documents of files and folders, in the order named and within a folder by name.

    max_bad: how many rows (from 1 on) or which share of them (below 1) may be unreadable. `notice` is told in one line
    about anything a person would want to know: an encoding, a file passed over, rows left out.
    DataError for what is not there, is empty, is not text, or is a row without `field`.
    """
    tolerance, n = Tolerance(max_bad), 0
    for path in files(paths, notice):
        for name, stream in streams(path, notice):
            n_before = n
            for text in _texts(name, stream, field, separator, tolerance, notice):
                n += 1
                yield Document(text, name)
            if n == n_before:
                notice(f"{name}: empty, nothing read from it")
    tolerance.finish(notice)
    if n == 0:
        raise DataError("there is no text in it", where=", ".join(map(str, paths)), hint="name files with text in them")


def _texts(
    name: str, stream: BufferedReader, field: str, separator: str, tolerance: Tolerance, notice: Notice
) -> Iterator[str]:
    if plain_name(name).endswith(ROW_ENDINGS):
        for number, row in parse_rows(stream, name, tolerance):
            where = f"{name}, row {number:,}"
            text = row.get(field)
            if isinstance(text, str):
                yield from pieces(text)
            else:
                tolerance.refuse(where, *_no_text(row, field))
        return
    chunks = text_of(stream, name, notice, lambda reason: tolerance.refuse(name, reason, _encoding_hint(name)))
    yield from split(chunks, separator)


def _encoding_hint(name: str) -> str:
    return f"convert it first, for example: iconv -f GB18030 -t UTF-8 '{name}' > converted.txt"


def _no_text(row: dict[str, Any], field: str) -> tuple[str, str]:
    """Why a row gives no text, and which flag would help: the key that is nearest, or holds the longest text."""
    if field in row:
        kind = {type(None): "null", list: "a list", dict: "an object", bool: "true or false"}
        return (
            f"the key {field!r} holds {kind.get(type(row[field]), 'a number')}, not text",
            "name another with --text-field",
        )
    keys = list(row)
    near = difflib.get_close_matches(field, keys, n=1) or sorted(
        (key for key in keys if isinstance(row[key], str)), key=lambda key: -len(row[key])
    )
    seen = ", ".join(keys[:12]) + (", ..." if len(keys) > 12 else "") or "none"
    suggestion = f"; did you mean --text-field {near[0]}?" if near else ""
    return f"no key {field!r}", f"the keys are: {seen}{suggestion}"


def split(chunks: Iterable[str], separator: str = SEPARATOR) -> Iterator[str]:
    """A stream of text as documents: divided at the separator, long ones in pieces, those without text left out."""
    text, has_separator = "", False
    for chunk in chunks:
        text += chunk
        if separator and separator in text:
            *whole, text = text.split(separator)
            for document in whole:
                yield from pieces(document.strip("\n"))
            text, has_separator = text.lstrip("\n"), True
        while len(text) > 2 * LONGEST:
            piece = _first_piece(text)
            text = text[len(piece) :]
            yield from pieces(piece)
    yield from pieces(text.strip("\n") if has_separator else text)


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of at most `LONGEST` bytes that together are the text, without a rest of only white space."""
    while text and not text.isspace():
        piece = _first_piece(text)
        yield piece
        text = text[len(piece) :]


def _first_piece(text: str) -> str:
    """The longest beginning of up to `LONGEST` bytes that ends at a blank line, else at a line, else at a space."""
    start = text[:LONGEST].encode("utf-8", "surrogatepass")
    if len(text) <= LONGEST and len(start) <= LONGEST:
        return text
    # Bytes that begin a character, up to the one that would be too much: its character no longer belongs to it.
    longest = text[: len(start[: LONGEST + 1].translate(None, CONTINUATIONS)) - (len(start) > LONGEST)]
    for border in ("\n\n", "\n", " "):
        end = longest.rfind(border, len(longest) // 2)
        if end >= 0:
            return longest[: end + len(border)]
    return longest


# --- rows ---


def rows(path: Path | str, tolerance: Tolerance | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a JSON array or of JSON lines, packed or not, with their numbers from 1.

    Without a `tolerance` the first bad row is a `DataError`.
    """
    with opened(Path(path)) as stream:
        yield from parse_rows(stream, str(path), tolerance or Tolerance())


def parse_rows(stream: BufferedReader, name: str, tolerance: Tolerance) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of an open stream. One that is no JSON object goes to `tolerance` with its number and the reason."""
    stream = _as_utf8(stream, name)
    start = _peek(stream)
    values = _array_elements(stream, name) if start.startswith(b"[") else _lines(stream)
    for number, (value, reason) in enumerate(values, start=1):
        tolerance.n_rows += 1
        if reason is None and isinstance(value, dict):
            yield number, value
        elif reason != "":
            kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number")
            tolerance.refuse(f"{name}, row {number:,}", reason or f"the row is {kind}, not an object with keys")


Value = tuple[Any, str | None]  # and why there is none; "" for an empty line


def _lines(stream: BufferedReader) -> Iterator[Value]:
    while line := stream.readline(LONGEST_ROW):
        if len(line) == LONGEST_ROW and not line.endswith(b"\n"):
            while (rest := stream.readline(LONGEST_ROW)) and not rest.endswith(b"\n"):
                pass
            yield None, f"the row is longer than {LONGEST_ROW // 2**20} MiB"
        elif line.isspace():
            yield None, ""
        else:
            yield _parse(line)


def _parse(line: bytes) -> Value:
    try:
        return orjson.loads(line), None
    except orjson.JSONDecodeError as error:
        if not line.endswith(b"\n"):
            return None, "the last row is incomplete: the file was cut off"
        if line.strip() == b"{":
            return None, "the row is not JSON: a row is one line, and here an object spreads over many"
        with suppress(UnicodeDecodeError):
            line.decode()
            return None, f"the row is not JSON ({str(error).split(':')[0]})"
        return None, "the row is not UTF-8"


def _array_elements(stream: BufferedReader, name: str) -> Iterator[Value]:
    """Elements of one array, however long, parsed as they come. Damage ends the reading: what follows has no number."""
    import ijson

    n = 0
    try:
        for element in ijson.items(stream, "item", use_float=True):
            n += 1
            yield element, None
    except (ijson.JSONError, UnicodeDecodeError, RecursionError) as error:
        where = f"{name}, row {n + 1:,}"
        raise DataError(
            f"the JSON array is damaged or cut off after {n:,} whole rows: {str(error).splitlines()[0]}", where=where
        ) from error


def _peek(stream: BufferedReader) -> bytes:
    """The first bytes that are not white space; the stream stands before them."""
    start = b""
    while not start.strip() and (more := stream.peek(1)[:4096]):
        start = more
        if not start.strip():
            stream.read(len(more))
    return start.lstrip()


class _Transcoded(RawIOBase):
    """Text as a stream of UTF-8."""

    def __init__(self, chunks: Iterator[str]):
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk.encode()
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n


def _as_utf8(stream: BufferedReader, name: str) -> BufferedReader:
    """The stream without a byte-order mark; from UTF-16, which PowerShell writes, and UTF-32 to UTF-8."""
    mark, encoding = byte_order_mark(stream.peek(4)[:4])
    if encoding == "utf-8":
        stream.read(len(mark))
        return stream

    def refuse(reason: str) -> None:
        raise DataError(reason, where=name)

    return BufferedReader(_Transcoded(text_of(stream, name, ignore, refuse)), BLOCK)
