"""Reads safetensors files: our own reader of the header, and memory-mapped tensors.

    8 bytes    n, the length of the header, little-endian
    n bytes    JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
    the rest   the numbers, row-major; offsets count from here and cover it without holes or overlaps

The format is that of https://github.com/huggingface/safetensors, whose library judges this in tests. No torch here;
what writes is safetensors_writer.py.
"""

from pathlib import Path
from typing import Any

from groundup.errors import ArtefactError
from groundup.weights import disguise, strict_json
from groundup.weights.stored_tensor import PLAIN, StoredTensor, count_bytes, quoted, read_bytes, size_of

DTYPES = (*PLAIN, "BF16")
FIELDS = {"dtype", "shape", "data_offsets"}


def read(file: Path | str) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """(tensors by name in the order of their data, metadata) of a file, of which only the header is read.

    Raises ArtefactError naming the file, and the tensor, for whatever is not as the format has it.
    """
    file = Path(file)
    size = size_of(file)
    header, start = _header(file, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ArtefactError("the header's __metadata__ is not texts by name", where=str(file))
    tensors = sorted(
        (_tensor(name, entry, file, start) for name, entry in header.items()),
        key=lambda tensor: (tensor.offset, tensor.n_bytes),
    )
    _refuse_gaps(tensors, file, start, size)
    return {tensor.name: tensor for tensor in tensors}, metadata


def _header(file: Path, size: int) -> tuple[dict[str, Any], int]:
    """(the parsed header, where the numbers begin)"""
    head = read_bytes(file, 0, 64)
    length = int.from_bytes(head[:8], "little")
    if size < 8:
        fault = f"it has only {size} bytes"
    elif length > strict_json.MOST_BYTES:
        fault = f"its header would have {length:,} bytes"
    elif head[8:9] not in (b"{", b""):
        fault = "its header does not begin with {"
    else:
        fault = None
    if fault:
        what, hint = disguise.recognise(head) or (None, None)
        told = f"{file.name} is not a safetensors file" + (f" but {what}" if what else f": {fault}")
        raise ArtefactError(told, where=str(file), hint=hint)
    if 8 + length > size:
        raise _cut_off(file, f"its header ends at byte {8 + length:,}", size)
    try:
        return strict_json.parse(read_bytes(file, 8, length), str(file)), 8 + length
    except ArtefactError as error:
        raise ArtefactError(f"the header is damaged: {error.what}", where=str(file)) from error


def _tensor(name: str, entry: Any, file: Path, start: int) -> StoredTensor:
    def refuse(what: str) -> ArtefactError:
        return ArtefactError(f"the header is damaged: tensor {quoted(name)} has {what}", where=str(file))

    if not name.isprintable():  # terminals obey some characters
        raise refuse("a name that cannot be printed")
    if not isinstance(entry, dict) or entry.keys() != FIELDS:
        raise refuse(f"{quoted(entry)} where dtype, shape and data_offsets should be")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if dtype not in DTYPES:
        what = f"tensor {quoted(name)} has dtype {quoted(dtype)}, which is not read here; those read are "
        raise ArtefactError(what + ", ".join(DTYPES), where=str(file))
    if not _are_counts(shape):
        raise refuse(f"shape {quoted(shape)}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise refuse(f"data_offsets {quoted(offsets)}")
    try:
        expected = count_bytes(dtype, tuple(shape))
    except ValueError as error:
        raise refuse(str(error)) from error
    if (n_bytes := offsets[1] - offsets[0]) != expected:
        raise refuse(f"{n_bytes:,} bytes; {dtype} of shape {quoted(shape)} takes {expected:,}")
    return StoredTensor(name, dtype, tuple(shape), file, start + offsets[0], n_bytes)


def _are_counts(values: Any) -> bool:
    # isinstance would take True for 1
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _refuse_gaps(tensors: list[StoredTensor], file: Path, start: int, size: int) -> None:
    """Every byte belongs to exactly one tensor, so that nothing can hide, and two names never share numbers."""
    end, before = start, "the header"
    for tensor in tensors:
        if tensor.offset < end:
            raise ArtefactError(f"tensors {quoted(tensor.name)} and {before} overlap", where=str(file))
        if tensor.offset > end:
            unclaimed = f"{tensor.offset - end:,} bytes between {before} and tensor {quoted(tensor.name)}"
            raise ArtefactError(f"{unclaimed} belong to no tensor", where=str(file))
        end, before = tensor.offset + tensor.n_bytes, quoted(tensor.name)
        if end > size:
            raise _cut_off(file, f"tensor {before} ends at byte {end:,}", size)
    if end < size:
        raise ArtefactError(f"{size - end:,} bytes after {before} belong to no tensor", where=str(file))


def _cut_off(file: Path, need: str, size: int) -> ArtefactError:
    what = f"{file.name} is cut off: {need}, and the file has {size:,}"
    return ArtefactError(what, where=str(file), hint=disguise.DOWNLOAD_AGAIN)
