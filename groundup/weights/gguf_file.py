"""Reads GGUF files, the format of llama.cpp: our own bounded reader. Metadata and memory-mapped tensors, no torch.

    "GGUF"  version u32  n_tensors u64  n_keys u64
    n_keys times:     key string, type u32, value; a string is length u64, bytes, an array type u32, count u64, values
    n_tensors times:  name string, n_dims u32, dims u64 ..., type u32, offset u64
    padding to a multiple of general.alignment, which is 32 if not said; from here the offsets count
    the numbers, each tensor beginning at such a multiple; dims stand fastest first, the reverse of `shape`

Versions 2 and 3, little-endian, see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A file is a stranger's:
every count is held against the bytes that are left before anything is made from it, so a file of N bytes costs no more
than N bytes and a constant, and what has more keys, tensors or strings than any model is refused before it takes time.
What the keys mean is not known here.
"""

import mmap
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn, overload

import numpy as np

from groundup.errors import ArtefactError
from groundup.weights import disguise
from groundup.weights.gguf_blocks import BLOCKS
from groundup.weights.stored_tensor import PLAIN, StoredTensor, count_bytes, mapped, quoted, read_bytes, size_of

DEFAULT_ALIGNMENT = 32
MOST_ALIGNMENT = 1 << 20

# Far above any model: a hundred keys, some thousand tensors, 800,000 tokens and merges, a tokenizer.json of 30 MB in
# one string. Reading as much as this allows takes about a second.
MOST_KEYS = 1 << 15
MOST_TENSORS = 1 << 15
MOST_STRINGS = 1 << 21
MOST_INNER_ARRAYS = 1 << 14
MOST_TEXT = 1 << 26
DEEPEST = 4
MOST_DIMS = 4

STRING, ARRAY = 8, 9
# Formats of struct, which with "<" before them are numpy's too. A bool is a byte.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}
BOOL = 7
LAYOUTS = {format_: struct.Struct("<" + format_) for format_ in NUMBERS.values()}
NUMPY = {type_: np.dtype("<" + format_) for type_, format_ in NUMBERS.items()}

TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0",
}  # fmt: skip
"""Names of the types of tensors, by the number in the file; those not in BLOCKS or PLAIN are refused by name."""


@dataclass(frozen=True)
class GGUF:
    """What a file holds. A value of the metadata is an int, float, bool or str; an array of numbers is a numpy array,
    one of strings is Strings, and one of arrays a list of these."""

    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


class Strings(Sequence[str]):
    """An array of strings as it lies in the file, each decoded when it is asked for.

    A list of a million short strings takes six times the bytes of the file; `list(strings)` makes one where that is
    wanted. A string that is not UTF-8 raises ArtefactError then.
    """

    def __init__(self, data: bytes, starts: np.ndarray, where: str, of: str):
        # String i begins at starts[i] and ends 8 bytes, which are the next one's length, before starts[i + 1].
        self._data, self._starts, self._where, self._of = data, starts, where, of

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self[i] for i in chosen]
        return self._decode(chosen, self._data[self._starts[chosen] : self._starts[chosen + 1] - 8])

    def __iter__(self) -> Iterator[str]:
        for i, (start, after) in enumerate(pairwise(self._starts.tolist())):
            yield self._decode(i, self._data[start : after - 8])

    def __repr__(self) -> str:
        return f"Strings({len(self)} of {self._of})"

    def _decode(self, i: int, text: bytes) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            what = f"string {i} of {self._of} is not UTF-8: {quoted(text)}"
            raise ArtefactError(what, where=self._where) from error


def read(file: Path | str) -> GGUF:
    """The metadata and tensors of a file. Raises ArtefactError naming the file, and the key or tensor."""
    file = Path(file)
    _refuse_other_files(file, size_of(file))
    with mapped(file) as data:
        return _Reader(data, file).read()


def _refuse_other_files(file: Path, size: int) -> None:
    head = read_bytes(file, 0, 64)
    version = int.from_bytes(head[4:8], "little")
    hint = None
    if head[:4] != b"GGUF":
        other = disguise.recognise(head)
        what = f"{file.name} is not a GGUF file"
        what += f" but {other[0]}" if other else f": it begins with {quoted(head[:8])}"
        hint = other[1] if other else None
    elif size < 24:
        what, hint = f"{file.name} is cut off: it has {size} bytes", disguise.DOWNLOAD_AGAIN
    elif version and version & 0xFFFF == 0:
        what, hint = f"{file.name} is big-endian, and only little-endian GGUF is read", "gguf-convert-endian"
    elif version not in (2, 3):
        what = f"{file.name} has version {version} of GGUF; those read are 2 and 3"
    else:
        return
    raise ArtefactError(what, where=str(file), hint=hint)


class _Reader:
    """One pass over a mapped file, from front to back."""

    def __init__(self, data: mmap.mmap, file: Path):
        self.data = data
        self.file = file
        self.size = len(data)
        self.position = 8  # after magic and version
        self.n_strings = self.n_inner_arrays = self.n_text = 0

    def refuse(self, what: str, hint: str | None = None) -> NoReturn:
        raise ArtefactError(what, where=str(self.file), hint=hint)

    def take(self, n_bytes: int, of: str) -> int:
        """Step over bytes that are there; where they begin."""
        start, self.position = self.position, self.position + n_bytes
        if self.position > self.size:
            what = f"the file is damaged or cut off: {of} would end at byte {self.position:,} of {self.size:,}"
            self.refuse(what, disguise.DOWNLOAD_AGAIN)
        return start

    def number(self, format_: str, of: str) -> Any:
        layout = LAYOUTS[format_]
        return layout.unpack_from(self.data, self.take(layout.size, of))[0]

    def text(self, of: str) -> str:
        length = self.number("Q", of)
        start = self.take(length, of)
        self.n_text += length
        if self.n_text > MOST_TEXT:
            self.refuse(f"the file has more text than any model, up to {of}")
        try:
            return self.data[start : start + length].decode()
        except UnicodeDecodeError:
            self.refuse(f"the file is damaged: {of} is not UTF-8")

    def name(self, of: str) -> str:
        name = self.text(of)
        if not name.isprintable() or not name:  # terminals obey some characters
            self.refuse(f"the file is damaged: {of} cannot be printed, {quoted(name)}")
        return name

    def read(self) -> GGUF:
        n_tensors, n_keys = self.number("Q", "its head"), self.number("Q", "its head")
        left = self.size - self.position
        room = {
            "tensors": min(MOST_TENSORS, left // 24),
            "keys": min(MOST_KEYS, left // 13),
        }  # at least 24 and 13 bytes
        for what, count in [("tensors", n_tensors), ("keys", n_keys)]:
            if count > room[what]:
                self.refuse(f"the file is damaged: it would have {count:,} {what}, and has room for {room[what]:,}")
        metadata: dict[str, Any] = {}
        for i in range(n_keys):
            key = self.name(f"key {i}")
            if key in metadata:
                self.refuse(f"the file is damaged: key {quoted(key)} stands there twice")
            metadata[key] = self.value(self.number("I", f"key {quoted(key)}"), f"key {quoted(key)}")
        parts = metadata.get("split.count")
        if isinstance(parts, int) and parts > 1:
            hint = "join them with llama-gguf-split --merge, and give the file that this makes"
            self.refuse(f"the file is one of {parts} parts of a model", hint)
        return GGUF(metadata, self.tensors(n_tensors, self.alignment(metadata)))

    # --- values ---

    def value(self, type_: int, of: str) -> Any:
        if type_ == BOOL:
            if (byte := self.number("B", of)) > 1:
                self.refuse(f"the file is damaged: {of} is {byte}, neither true nor false")
            return bool(byte)
        if type_ in NUMBERS:
            return self.number(NUMBERS[type_], of)
        if type_ == STRING:
            return self.text(of)
        if type_ == ARRAY:
            return self.array(of, depth=1)
        return self.refuse(f"the file is damaged: {of} has type {type_}, which does not exist")

    def array(self, of: str, depth: int) -> np.ndarray | Strings | list:
        type_, count = self.number("I", of), self.number("Q", of)
        if type_ in NUMPY:
            dtype = NUMPY[type_]
            start = self.take(count * dtype.itemsize, of)
            numbers = np.ndarray(count, dtype, self.data[start : self.position])
            if type_ != BOOL:
                return numbers
            if numbers.max(initial=0) > 1:
                self.refuse(f"the file is damaged: {of} has values that are neither true nor false")
            return numbers.view(np.bool_)
        if type_ == STRING:
            return self.strings(count, of)
        if type_ != ARRAY:
            self.refuse(f"the file is damaged: {of} is an array of type {type_}, which does not exist")
        self.n_inner_arrays += count
        if self.n_inner_arrays > MOST_INNER_ARRAYS or depth == DEEPEST:
            self.refuse(f"{of} holds more arrays in arrays than any model has")
        return [self.array(of, depth + 1) for _ in range(count)]

    def strings(self, count: int, of: str) -> Strings:
        """Finds where each begins, which only the lengths of those before tell."""
        self.n_strings += count
        if self.n_strings > MOST_STRINGS:
            self.refuse(f"{of} has more strings than any model has")
        starts, first = array("q"), self.position
        unpack, data, size, position = LAYOUTS["Q"].unpack_from, self.data, self.size, first
        for _ in range(count):
            position += 8
            if position > size:
                break
            starts.append(position)
            position += unpack(data, position - 8)[0]
        self.take(position - first, of)
        starts.append(position + 8)
        return Strings(self.data[first:position], np.array(starts) - first, str(self.file), of)

    # --- tensors ---

    def alignment(self, metadata: dict[str, Any]) -> int:
        alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= MOST_ALIGNMENT or alignment & (alignment - 1):
            self.refuse(f"the file is damaged: general.alignment is {quoted(alignment)}, which is no power of two")
        return alignment

    def tensors(self, count: int, alignment: int) -> dict[str, StoredTensor]:
        entries = [self.tensor(i) for i in range(count)]
        start = -(-self.position // alignment) * alignment
        tensors: dict[str, StoredTensor] = {}
        for name, dtype, shape, offset in entries:
            of = f"tensor {quoted(name)}"
            if name in tensors:
                self.refuse(f"the file is damaged: {of} stands there twice")
            if offset % alignment:
                self.refuse(f"the file is damaged: {of} begins at {offset:,}, no multiple of {alignment}")
            try:
                n_bytes = count_bytes(dtype, shape)
            except ValueError as error:
                raise ArtefactError(f"the file is damaged: {of} has {error}", where=str(self.file)) from error
            if start + offset + n_bytes > self.size:
                self.position = start + offset
                self.take(n_bytes, of)
            tensors[name] = StoredTensor(name, dtype, shape, self.file, start + offset, n_bytes)
        self.refuse_overlaps(tensors)
        return tensors

    def tensor(self, i: int) -> tuple[str, str, tuple[int, ...], int]:
        name = self.name(f"the name of tensor {i}")
        of = f"tensor {quoted(name)}"
        n_dims = self.number("I", of)
        if n_dims > MOST_DIMS:
            self.refuse(f"the file is damaged: {of} has {n_dims:,} dimensions, and {MOST_DIMS} are the most")
        dims = [self.number("Q", of) for _ in range(n_dims)]
        type_, offset = self.number("I", of), self.number("Q", of)
        dtype = TYPES.get(type_)
        if dtype is None:
            self.refuse(f"the file is damaged, or newer than this reader: {of} has type {type_}, which is not known")
        if dtype not in PLAIN and dtype not in BLOCKS:
            hint = "take the model as Q8_0 or Q4_K_M"
            self.refuse(f"{of} has type {dtype}, which is not read here; those read are {', '.join(BLOCKS)}", hint)
        return name, dtype, tuple(reversed(dims)), offset

    def refuse_overlaps(self, tensors: dict[str, StoredTensor]) -> None:
        ordered = sorted((tensor for tensor in tensors.values() if tensor.n_bytes), key=lambda tensor: tensor.offset)
        for one, other in pairwise(ordered):
            if one.offset + one.n_bytes > other.offset:
                self.refuse(f"the file is damaged: tensors {quoted(one.name)} and {quoted(other.name)} overlap")
