"""Bytes to text: which encoding a file is in, and what to do where it is none.

UTF-8 with or without a byte-order mark, UTF-16 and UTF-32 with one. Bytes that are not UTF-8 in a file that was ASCII
up to there are Latin-1, as older books are; of anything else the reader is told, and not served wrong letters.
"""

import codecs
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

from groundup.errors import DataError

BLOCK = 2**20
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF8, "utf-8"),
)
MAX_HIGH_SHARE = 0.3
"""In Latin-1 text few bytes are above 127: most letters are plain ones. In GB 18030 or Windows-1251 most are."""

# Windows-1252 is Latin-1 with quotes and dashes where Latin-1 has control characters; five bytes it leaves undefined.
codecs.register_error("as-latin-1", lambda error: (error.object[error.start : error.end].decode("latin-1"), error.end))  # type: ignore[attr-defined]


def byte_order_mark(start: bytes) -> tuple[bytes, str]:
    """The mark at the beginning of a file and the encoding it speaks of; UTF-8 without one."""
    return next(((mark, encoding) for mark, encoding in MARKS if start.startswith(mark)), (b"", "utf-8"))


def text_of(
    stream: BinaryIO, where: str, notice: Callable[[str], None], refuse: Callable[[str], None]
) -> Iterator[str]:
    """A file's text in pieces of about a megabyte, with line ends as `\\n`.

    A second encoding is said through `notice`. `refuse` is called with the reason where bytes are in no encoding; if it
    returns, they and any further ones are replaced by U+FFFD. A binary file is a `DataError`.
    """
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    for text in _decoded(stream, where, notice, refuse):
        yield newlines.decode(text)
    yield newlines.decode("", final=True)


def _decoded(
    stream: BinaryIO, where: str, notice: Callable[[str], None], refuse: Callable[[str], None]
) -> Iterator[str]:
    block = stream.read(BLOCK)
    mark, encoding = byte_order_mark(block)
    block, offset, is_ascii = block[len(mark) :], len(mark), True
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    while True:
        if encoding == "utf-8" and b"\0" in block:
            raise DataError(
                f"a binary file, not text: byte {offset + block.index(0) + 1:,} is zero",
                where=where,
                hint="name only text files; unpack or convert this one first",
            )
        held = decoder.getstate()[0]
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            place = offset - len(held) + error.start + 1
            if encoding == "utf-8" and is_ascii and _looks_latin(held + block, error.start, offset):
                notice(f"{where}: not UTF-8 from byte {place:,} on; read as Latin-1 (Windows-1252)")
                encoding = "cp1252"
                decoder = codecs.getincrementaldecoder(encoding)("as-latin-1")
            else:
                refuse(f"not valid {encoding.upper()} at byte {place:,}")
                decoder = codecs.getincrementaldecoder(encoding)("replace")
            text = decoder.decode(held + block, final=not block)
        is_ascii = is_ascii and text.isascii()
        yield text
        if not block:
            return
        offset += len(block)
        block = stream.read(BLOCK)


def _looks_latin(block: bytes, first_bad: int, n_before: int) -> bool:
    """Is this ASCII up to the first bad byte, and most of it and of what stands shortly before?"""
    seen = max(len(block), min(n_before + len(block), 4096))
    n_high = len(block) - len(block.translate(None, bytes(range(0x80, 0x100))))
    return block[:first_bad].isascii() and n_high <= MAX_HIGH_SHARE * seen
