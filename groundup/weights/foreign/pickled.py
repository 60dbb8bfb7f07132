"""The one place that opens a pickle: files of `torch.save`, for their tensors and nothing else.

A pickle is a program for a small machine, and its instructions can call any function that Python can import. So

- the zip archive around it is held to the size of its file before anything is taken from it;
- the program is read, not run, and every function that it names must be one of those that put tensors together;
- `torch.load(weights_only=True)` then runs it, which by itself runs no others. There is no second try without.

The numbers stay in the file, memory-mapped, until they are used. `weights_only` is described at
https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup.errors import ArtefactError
from groundup.weights import disguise, lazy
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import quoted, read_bytes, size_of

MOST_PROGRAM = 1 << 25
"""Bytes of the pickle, without the numbers. For a thousand tensors and their optimizer it is a megabyte."""
MOST_ENTRIES = 1 << 17
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
"""How files of PyTorch before 1.6 begin."""

SAVE_AGAIN = "where it comes from, open it if you trust it, and save the tensors: torch.save(model.state_dict(), FILE)"

HARMLESS = re.compile(
    r"torch [A-Z]\w+Storage|torch\.storage (UntypedStorage|TypedStorage)"
    r"|torch\._utils (_rebuild_tensor(_v2|_v3)?|_rebuild_parameter)|torch\.nn\.parameter Parameter"
    r"|torch ((float|bfloat|u?int)\d+|bool|Size|device)|collections OrderedDict"
)
"""What the pickle of a state dictionary names."""
NAMING = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"}
"""Instructions that name functions in ways that torch.save never does."""

PREFIXES = re.compile(r"^(?:_orig_mod\.|module\.)+")
"""What torch.compile and data-parallel training put before every name."""


def load(file: Path) -> Any:
    """What the file holds: dictionaries, lists, numbers, texts, and tensors that lie in the file.

    ArtefactError names the file and what it asked for, if that is anything else.
    """
    program = _program(file)
    _refuse_functions(program, file)
    try:
        return torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # a damaged pickle makes PyTorch raise any of a dozen
        raise _damaged(file, error) from error


def strings(file: Path) -> set[str]:
    """Every text in the file's pickle, the names of tensors among them. Nothing is run."""
    return {argument for _, argument in _instructions(_program(file), file) if isinstance(argument, str)}


def is_pickled(file: Path) -> bool:
    """Whether this is a file of torch.save, as far as its ending and its first bytes say."""
    return file.suffix in (".pt", ".pth", ".bin", ".ckpt") and file.is_file() and _head(file).startswith(b"PK\x03\x04")


def tensors(state: Any, file: Path) -> dict[str, LazyTensor]:
    """A state dictionary, by names without what wrappers put before them.

    ArtefactError for a value that is no plain tensor, or that has more numbers than the file holds for it.
    """
    if not isinstance(state, Mapping) or not state:
        raise ArtefactError("there are no tensors by name where this program keeps them", where=str(file))
    found: dict[str, LazyTensor] = {}
    for key, tensor in state.items():
        name = PREFIXES.sub("", key, count=1) if isinstance(key, str) else key
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise ArtefactError(f"{quoted(key)} is {type(tensor).__name__}, not a tensor", where=str(file))
        if name in found:
            raise ArtefactError(f"{quoted(name)} is there twice, with and without a prefix", where=str(file))
        is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not is_plain or tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
            what = f"{quoted(name)} has shape {quoted(tuple(tensor.shape))}, and the file has not all its numbers"
            raise ArtefactError(what, where=str(file))
        found[name] = lazy.of(tensor)
    return found


# --- the archive ---


def _program(file: Path) -> bytes:
    """The pickle inside, once the archive around it is known to be no larger than it is."""
    size = size_of(file)
    if not (head := _head(file)).startswith(b"PK\x03\x04"):
        raise _refused(file, head)
    try:
        if _n_entries(file, size) > MOST_ENTRIES:
            raise ArtefactError("the archive has more entries than any model's", where=str(file))
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len({entry.filename for entry in entries}) < len(entries):
                raise ArtefactError("two entries of the archive have one name", where=str(file))
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
                what = "the archive is compressed, which torch.save never does"
                raise ArtefactError(what, where=str(file), hint="if a .pth lies inside, unzip it first")
            if sum(entry.file_size for entry in entries) > size:
                raise ArtefactError("the archive says it holds more than it does", where=str(file))
            named = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
            if len(named) != 1 or any(entry.filename.endswith("/constants.pkl") for entry in entries):
                raise ArtefactError("this zip archive is not one of torch.save", where=str(file))
            order = [entry for entry in entries if entry.filename.endswith("/byteorder")]
            if order and (order[0].file_size != 6 or archive.read(order[0]) != b"little"):
                raise ArtefactError("its numbers are big-endian, which is not supported", where=str(file))
            if named[0].file_size > MOST_PROGRAM:
                raise ArtefactError(f"its pickle has {named[0].file_size:,} bytes", where=str(file))
            return archive.read(named[0])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, struct.error) as error:
        raise _damaged(file, error) from error


def _n_entries(file: Path, size: int) -> int:
    """How many entries the archive says it has, before a list of them is made."""
    tail = read_bytes(file, max(0, size - (1 << 16) - 98), 1 << 17)
    at = tail.rfind(b"PK\x05\x06")
    n_entries = struct.unpack_from("<H", tail, at + 10)[0] if at >= 0 else 0
    large = tail.rfind(b"PK\x06\x06", 0, max(at, 0))
    return struct.unpack_from("<Q", tail, large + 32)[0] if n_entries == 0xFFFF and large >= 0 else n_entries


def _head(file: Path) -> bytes:
    return read_bytes(file, 0, 64)


# --- the program ---


def _instructions(program: bytes, file: Path) -> Iterator[tuple[str, Any]]:
    """(name, argument) of each instruction."""
    try:
        for opcode, argument, _ in pickletools.genops(program):
            yield opcode.name, argument
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise _damaged(file, error) from error


def _refuse_functions(program: bytes, file: Path) -> None:
    strange = set()
    for name, argument in _instructions(program, file):
        if name == "GLOBAL" and not HARMLESS.fullmatch(argument):
            strange.add(argument.replace(" ", "."))
        elif name in NAMING:
            strange.add(f"a function by {name}")
    if strange:
        raise ArtefactError(
            f"the pickle asks for {quoted(', '.join(sorted(strange)))}, which no tensor needs; nothing of it was run",
            where=str(file),
            hint=SAVE_AGAIN,
        )


# --- refusals ---


def _refused(file: Path, head: bytes) -> ArtefactError:
    """What a file is that is no archive of torch.save."""
    if head.startswith(LEGACY):
        return ArtefactError("the file is of PyTorch before 1.6, which is not read", where=str(file), hint=SAVE_AGAIN)
    kind = disguise.recognise(head)
    if kind and "pickle" in kind[0]:
        kind = (kind[0], SAVE_AGAIN)
    what = f"{file.name} is not a file of torch.save" + (f" but {kind[0]}" if kind else "")
    return ArtefactError(what, where=str(file), hint=kind[1] if kind else None)


def _damaged(file: Path, error: BaseException) -> ArtefactError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ArtefactError(f"{file.name} is damaged: {reason}", where=str(file))
