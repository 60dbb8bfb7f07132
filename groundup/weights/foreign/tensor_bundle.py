"""Reads TensorFlow's checkpoints, "tensor bundles", without TensorFlow.

    PREFIX.index                   a sorted table of names; each says dtype, shape, file, place and checksum of a tensor
    PREFIX.data-00000-of-00001     the numbers, row-major, one tensor after another

The table is LevelDB's: blocks of entries, and at the end of the file a block that lists the blocks, and a footer that
points to it. An entry shares the beginning of its name with the one before. What a name stands for is a message of
Protocol Buffers, BundleEntryProto; the empty name's, BundleHeaderProto.

From https://github.com/google/leveldb/blob/main/doc/table_format.md and TensorFlow's protobuf/tensor_bundle.proto.
"""

import math
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from groundup.errors import ArtefactError
from groundup.weights import disguise, lazy
from groundup.weights.foreign.crc32c import crc32c, mask
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import StoredTensor, count_bytes, quoted, read_bytes, size_of

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER = 48
TRAILER = 5
"""Bytes after each block: whether it is compressed, and its checksum."""

MOST_BYTES = 1 << 20
"""Of an index. The largest GPT-2's has 30 kB."""
LONGEST_NAME = 256
MOST_SHARDS = 1024

DTYPES = {1: "F32", 2: "F64", 3: "I32", 9: "I64", 14: "BF16", 19: "F16"}
"""TensorFlow's numbers of the dtypes that a weight or a counter has."""


class _Damaged(Exception):
    """Why the index cannot be read."""


def read(prefix: Path) -> dict[str, LazyTensor]:
    """Every tensor by name; its checksum is compared when it is loaded. `prefix` is the path without ".index".

    ArtefactError names the file, and the tensor, for whatever is not as the format has it.
    """
    file = prefix.with_name(prefix.name + ".index")
    size = size_of(file)
    if size > MOST_BYTES:
        raise ArtefactError(f"{size:,} bytes are too many for the index of a checkpoint", where=str(file))
    content = read_bytes(file, 0, size)
    try:
        entries = _table(content)
        first, header = next(entries, (b"-", b""))
        if first != b"":
            raise _Damaged("it has no header")
        n_shards = _n_shards(header)
        tensors = (_tensor(name.decode("utf-8"), _Message.parse(value), prefix, n_shards) for name, value in entries)
        return {name: tensor for name, tensor in tensors}
    except (_Damaged, UnicodeDecodeError, IndexError, struct.error) as error:
        other = disguise.recognise(content[:64])
        what = f"{file.name} is {other[0]}" if other else f"{file.name} is no index of a checkpoint: {error}"
        raise ArtefactError(what, where=str(file), hint=other[1] if other else None) from error


# --- the table ---


def _table(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, value) of every entry, in order."""
    if len(content) < FOOTER or content[-8:] != MAGIC:
        raise _Damaged("its last bytes are not those of a table")
    footer = _Reader(content, len(content) - FOOTER)
    footer.varint()  # two numbers: where statistics lie, which nobody needs
    footer.varint()
    previous = None
    for _, place in _block(content, footer.varint(), footer.varint()):
        reader = _Reader(place, 0)
        for name, value in _block(content, reader.varint(), reader.varint()):
            if previous is not None and name <= previous:  # so no list can name one block a thousand times
                raise _Damaged(f"{quoted(name)} comes after {quoted(previous)}")
            previous = name
            yield name, value


def _block(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of one block. At its end stand places to begin a search from, which nobody searches here."""
    end = start + size
    if size < 4 or end + TRAILER > len(content) - FOOTER:
        raise _Damaged("a block goes beyond the end")
    (stored,) = struct.unpack_from("<I", content, end + 1)
    if stored != mask(crc32c(np.frombuffer(content, np.uint8, size + 1, start))):
        raise _Damaged("the checksum of a block is wrong")
    if content[end] != 0:
        raise _Damaged("it is compressed, which TensorFlow's checkpoints are not")
    (n_places,) = struct.unpack_from("<I", content, end - 4)
    reader, stop = _Reader(content, start), end - 4 - 4 * n_places
    name = b""
    while reader.at < stop:
        n_shared, n_more, n_value = reader.varint(), reader.varint(), reader.varint()
        if n_shared > len(name) or n_shared + n_more > LONGEST_NAME or reader.at + n_more + n_value > stop:
            raise _Damaged("an entry goes beyond its block")
        name = name[:n_shared] + reader.take(n_more)
        yield name, reader.take(n_value)


class _Reader:
    """Steps through bytes."""

    def __init__(self, content: bytes, at: int):
        self.content = content
        self.at = at

    def varint(self) -> int:
        """A number in groups of seven bits, the lowest first; the highest bit of a byte says that more follow."""
        number = shift = 0
        while True:
            byte = self.content[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > 63:
                raise _Damaged("a number of more than 64 bits")

    def take(self, n_bytes: int) -> bytes:
        if self.at + n_bytes > len(self.content):
            raise _Damaged("it ends too early")
        self.at += n_bytes
        return self.content[self.at - n_bytes : self.at]


# --- the entries ---


class _Message(NamedTuple):
    """The fields of a Protocol Buffers message by number: whole numbers, and bytes (texts and messages inside)."""

    numbers: dict[int, int]
    parts: dict[int, list[bytes]]

    @classmethod
    def parse(cls, content: bytes) -> "_Message":
        message, reader = cls({}, {}), _Reader(content, 0)
        while reader.at < len(content):
            number, kind = divmod(reader.varint(), 8)
            if kind == 0:
                message.numbers[number] = reader.varint()
            elif kind in (1, 5):
                message.numbers[number] = int.from_bytes(reader.take(8 if kind == 1 else 4), "little")
            elif kind == 2:
                message.parts.setdefault(number, []).append(reader.take(reader.varint()))
            else:
                raise _Damaged(f"a field of the kind {kind}")
        return message


def _n_shards(header: bytes) -> int:
    numbers = _Message.parse(header).numbers
    if numbers.get(2, 0) != 0:
        raise _Damaged("its numbers are big-endian, which is not supported")
    n_shards = numbers.get(1, 0)
    if not 1 <= n_shards <= MOST_SHARDS:
        raise _Damaged(f"it has {n_shards} files of numbers")
    return n_shards


def _tensor(name: str, entry: _Message, prefix: Path, n_shards: int) -> tuple[str, LazyTensor]:
    numbers = entry.numbers
    dtype, shard = DTYPES.get(numbers.get(1, 0)), numbers.get(3, 0)
    offset, n_bytes, checksum = numbers.get(4, 0), numbers.get(5, 0), numbers.get(6, 0)
    shape = tuple(
        _Message.parse(dimension).numbers.get(1, 0)
        for shape in entry.parts.get(2, [])
        for dimension in _Message.parse(shape).parts.get(2, [])
    )
    if dtype is None:
        raise _Damaged(f"{quoted(name)} has the dtype {numbers.get(1, 0)}, which no weight has")
    if 7 in entry.parts:
        raise _Damaged(f"{quoted(name)} is cut into slices, which is not supported")
    if shard >= n_shards:
        raise _Damaged(f"{quoted(name)} lies in file {shard} of {n_shards}")
    if n_bytes != math.prod(shape) * count_bytes(dtype, ()):
        raise _Damaged(f"{quoted(name)} has shape {quoted(shape)} and {n_bytes:,} bytes")
    file = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{n_shards:05d}")
    if offset + n_bytes > (size := size_of(file)):
        raise ArtefactError(
            f"{file.name} has {size:,} bytes, and {quoted(name)} ends at {offset + n_bytes:,}",
            where=str(file),
            hint="it is cut off: copy or download it again",
        )
    stored = StoredTensor(name, dtype, shape, file, offset, n_bytes)
    loaded = lazy.stored(stored)

    @cache  # of its not raising: three tensors of ours may be cut from this one
    def check() -> None:
        if mask(crc32c(stored.raw())) != checksum:
            raise ArtefactError(f"{name} is damaged: its checksum differs from the index's", where=str(file))

    def load() -> Tensor:
        check()
        return loaded.load()

    return name, LazyTensor(shape, loaded.dtype, load)
