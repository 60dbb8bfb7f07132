"""What every format's reader shares: files of a sane size, a table of tokens by id, errors in words.

Files are other people's. Whatever is in them, a reader ends with a tokenizer or with an ArtefactError, and takes no
more memory than a small multiple of the file.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import regex

from groundup import artifact
from groundup.errors import ArtefactError, GroundupError

LARGEST_FILE = 1 << 28
"""Bytes; the largest tokenizers in use have a tenth of it."""

SELDOM = bytes([*(b for b in range(32) if b not in b"\t\n\r"), 0x7F, 0xC0, 0xC1, *range(0xF1, 0x100)])
"""Bytes of control characters and of UTF-8 that hardly any text has: some vocabularies lack a few (SmolLM2's, 21)."""

LONGEST_SHOWN = 80
"""Characters of a strange file's content that a message repeats."""


def read_bytes(file: Path) -> bytes:
    """The content of a file. ArtefactError if it cannot be read, or is too large to be a tokenizer."""
    try:
        if (size := file.stat().st_size) > LARGEST_FILE:
            raise ArtefactError(f"{size} bytes are too many for a tokenizer", where=str(file))
        return file.read_bytes()
    except OSError as error:
        raise ArtefactError(f"cannot read {file.name}: {error.strerror}", where=str(file)) from error


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file. ArtefactError if there is none."""
    if file.is_file() and file.stat().st_size > LARGEST_FILE:
        raise ArtefactError(f"{file.stat().st_size} bytes are too many for a tokenizer", where=str(file))
    content = artifact.read_json(file)
    if not isinstance(content, dict):
        raise ArtefactError("this JSON file holds no object", where=str(file))
    return content


@contextmanager
def blaming(where: str, what: str) -> Iterator[None]:
    """What goes wrong inside for want of a key or a type is told as "this is no ...", an ArtefactError."""
    wrong = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError, struct.error)
    try:
        yield
    except ArtefactError:
        raise
    except GroundupError as error:
        raise ArtefactError(error.what, where=where, hint=error.hint) from error
    except (*wrong, regex.error) as error:
        raise ArtefactError(f"this is not {what}: {shorten(repr(error))}", where=where) from error


def shorten(text: str) -> str:
    """A text that may be a whole file, as much of it as a message can take."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def shown(thing: object) -> str:
    """`repr`, shortened; of a huge text only its beginning is looked at."""
    return shorten(repr(thing[:LONGEST_SHOWN] if isinstance(thing, str | bytes) else thing))


def check_ids(ids: Iterable[object], where: str) -> None:
    """ArtefactError unless all are ids, none comes twice, and at least half of those up to the highest are there.

    A few gaps are allowed, since some vocabularies have them; a table for ids a million apart would be all gap.
    """
    seen: set[int] = set()
    for i in ids:
        if type(i) is not int or i < 0:
            raise ArtefactError(f"{shown(i)} is no id of a token", where=where)
        if i in seen:
            raise ArtefactError(f"the id {i} is given to two tokens", where=where)
        seen.add(i)
    if not seen:
        raise ArtefactError("the vocabulary is empty", where=where)
    if max(seen) >= 2 * len(seen):
        raise ArtefactError(f"the ids of the vocabulary have gaps: {len(seen)} tokens, ids to {max(seen)}", where=where)


def table(token_by_id: Mapping[int, bytes], special_ids: Mapping[str, int], where: str) -> list[bytes]:
    """The bytes of each id, b"" for special tokens and for ids that no token has.

    ArtefactError on unusable ids, and on two tokens of the same bytes: text could become either.
    """
    for name in special_ids:
        if not isinstance(name, str) or not name:
            raise ArtefactError(f"{shown(name)} cannot be an added token", where=where)
    special = set(special_ids.values())
    plain = {i: token for i, token in token_by_id.items() if i not in special}
    check_ids([*plain, *special_ids.values()], where)
    tokens = [b""] * (1 + max([*plain, *special]))
    ids: dict[bytes, int] = {}
    for i, token in plain.items():
        if ids.setdefault(token, i) != i:
            raise ArtefactError(f"the tokens {ids[token]} and {i} are the same bytes, {shown(token)}", where=where)
        tokens[i] = token
    return tokens


def check_bytes(tokens: Iterable[bytes], where: str, may_miss: bytes = b"") -> None:
    """ArtefactError if a byte has no token, unless it is one of `may_miss`: text with that byte would lose it."""
    there = {token[0] for token in tokens if len(token) == 1}
    missing = [byte for byte in range(256) if byte not in there and byte not in may_miss]
    if missing:
        raise ArtefactError(f"{len(missing)} of the 256 bytes are not in the vocabulary", where=where)
