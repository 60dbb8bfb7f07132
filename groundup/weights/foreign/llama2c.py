"""llama2.c's models: https://github.com/karpathy/llama2.c, `ckpt.pt` of its training and `.bin` of its export.

A `.bin` is a header and then tensors one after another, by kind: first that of every layer, then the next kind's.

    version 0    7 int32: dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, max_seq_len; a vocab_size below
                 zero says that the head is not the embedding. Then float32, with RoPE's two tables before the head
    version 1    256 bytes: "ak42" backwards, version, the 7 numbers, one byte for the shared head. Then float32
    version 2    the same with the size of a group after that byte. Norms in float32; of every other tensor its numbers
                 as int8, then for each group of them a float32 to multiply by

All are little-endian and interleave RoPE (see meta_names.py), with theta 10000 and epsilon 1e-5.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groundup.errors import ArtefactError
from groundup.weights import disguise, lazy
from groundup.weights.foreign import meta_names, pickled, placing
from groundup.weights.lazy import LazyTensor
from groundup.weights.portable import Portable
from groundup.weights.stored_tensor import StoredTensor, read_bytes, size_of

TITLE = "a llama2.c model (.bin, or .pt of its training)"
OPTIONS: dict[str, type] = {}

MAGIC = struct.pack("<I", 0x616B3432)
HEADER = 256


def recognises(path: Path) -> bool:
    """A `.bin` whose size is what its header says, or Meta's names with settings beside them."""
    if pickled.is_pickled(path):
        found = pickled.strings(path)
        return "model_args" in found and any(text.endswith("tok_embeddings.weight") for text in found)
    if path.suffix != ".bin" or not path.is_file():
        return False
    try:
        header = _header(path)
    except ArtefactError:
        return False
    return header.version > 0 or _n_bytes(header) == size_of(path)


def read(path: Path) -> Portable:
    """The model; int8 becomes float32. ArtefactError if the file is damaged."""
    return _read_checkpoint(path) if pickled.is_pickled(path) else _read_bin(path)


# --- ckpt.pt ---


def _read_checkpoint(path: Path) -> Portable:
    content = pickled.load(path)
    content = content if isinstance(content, dict) else {}
    theirs = meta_names.learned(pickled.tensors(content.get("model"), path))
    args = content.get("model_args")
    n_heads = placing.setting(args, "n_heads", int, path)
    config = placing.configure(
        "llama", theirs, path,
        vocab_size=placing.setting(args, "vocab_size", int, path),
        context_length=placing.setting(args, "max_seq_len", int, path, 2048),
        n_layers=placing.setting(args, "n_layers", int, path),
        d_model=placing.setting(args, "dim", int, path),
        n_heads=n_heads,
        n_kv_heads=placing.setting(args, "n_kv_heads", int, path, n_heads),
        d_ff=meta_names.sizes(theirs, path)["d_ff"],  # as made of dim and multiple_of, or as hidden_dim says
        norm_eps=placing.setting(args, "norm_eps", float, path, 1e-5),
        dropout=placing.setting(args, "dropout", float, path, 0.0),
        tie_embeddings=meta_names.HEAD not in theirs,
    )  # fmt: skip
    facts: dict[str, Any] = {"source": TITLE}
    if type(step := content.get("iter_num")) is int:
        facts["step"] = step
    return Portable("llama", config, meta_names.place(config, theirs, path), None, str(path), facts)


# --- .bin ---


class _Header(NamedTuple):
    version: int
    n_bytes: int
    d_model: int
    d_ff: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    context_length: int
    is_tied: bool
    group_size: int


def _header(path: Path) -> _Header:
    size_of(path)
    head = read_bytes(path, 0, HEADER)
    if head[:4] != MAGIC:
        if len(head) < 28:
            raise _no_model(path, head, f"it has only {len(head)} bytes")
        *sizes, vocab_size, context_length = struct.unpack_from("<7i", head)
        header = _Header._make((0, 28, *sizes, abs(vocab_size), context_length, vocab_size > 0, 0))
    else:
        if len(head) < HEADER:
            raise _no_model(path, head, "it ends within its header")
        version, *sizes, is_tied, group_size = struct.unpack_from("<i7iBi", head, 4)
        if version not in (1, 2):
            raise ArtefactError(f"{path.name} has version {version}; 0, 1 and 2 are read", where=str(path))
        if is_tied > 1:
            raise _no_model(path, head, f"its flag for a shared head is {is_tied}")
        header = _Header._make((version, HEADER, *sizes, is_tied == 1, group_size))
    for name in ("d_model", "d_ff", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "context_length"):
        if getattr(header, name) < 1:
            raise _no_model(path, head, f"{name} would be {getattr(header, name)}")
    if header.version == 2 and (header.group_size < 1 or header.d_model % header.group_size):
        raise _no_model(path, head, f"groups of {header.group_size} numbers do not divide {header.d_model}")
    if header.d_model % header.n_heads or header.n_heads % header.n_kv_heads:
        heads = f"{header.n_heads} heads, {header.n_kv_heads} for keys and values"
        raise _no_model(path, head, f"{heads}, do not divide a d_model of {header.d_model}")
    return header


def _read_bin(path: Path) -> Portable:
    header = _header(path)
    size = size_of(path)
    if (needed := _n_bytes(header)) != size:  # before a list of its tensors is made, whose length the header says
        raise _no_model(path, read_bytes(path, 0, 64), f"it has {size:,} bytes, and its header asks for {needed:,}")
    theirs = dict(_tensors(header, path))
    config = placing.configure(
        "llama", theirs, path,
        vocab_size=header.vocab_size,
        context_length=header.context_length,
        n_layers=header.n_layers,
        d_model=header.d_model,
        n_heads=header.n_heads,
        n_kv_heads=header.n_kv_heads,
        d_ff=header.d_ff,
        tie_embeddings=header.is_tied,
    )  # fmt: skip
    facts: dict[str, Any] = {"source": TITLE, "version": header.version}
    if header.version == 2:
        facts["precision"] = f"int8 in groups of {header.group_size}, which became float32"
    return Portable("llama", config, meta_names.place(config, theirs, path), None, str(path), facts)


def _kinds(header: _Header) -> list[tuple[str, tuple[int, ...]]]:
    """(name, shape) in the order of the file; "{}" stands for the layer. What has no name is passed over."""
    d, kv_width = header.d_model, header.d_model // header.n_heads * header.n_kv_heads
    embedding, norm = ("tok_embeddings", (header.vocab_size, d)), ("norm", (d,))
    attention = [
        ("layers.{}.attention.wq", (d, d)),
        ("layers.{}.attention.wk", (kv_width, d)),
        ("layers.{}.attention.wv", (kv_width, d)),
        ("layers.{}.attention.wo", (d, d)),
    ]
    feed_forward = [
        ("layers.{}.feed_forward.w1", (header.d_ff, d)),
        ("layers.{}.feed_forward.w2", (d, header.d_ff)),
        ("layers.{}.feed_forward.w3", (header.d_ff, d)),
    ]
    attention_norm, ffn_norm = ("layers.{}.attention_norm", (d,)), ("layers.{}.ffn_norm", (d,))
    head = [] if header.is_tied else [("output", (header.vocab_size, d))]
    if header.version == 0:
        rope = [("", (header.context_length, d // header.n_heads // 2))] * 2
        return [embedding, attention_norm, *attention, ffn_norm, *feed_forward, norm, *rope, *head]
    return [attention_norm, ffn_norm, norm, embedding, *attention, *feed_forward, *head]


def _n_bytes(header: _Header) -> int:
    return header.n_bytes + sum(
        _width(header, shape) * (header.n_layers if "{}" in name else 1) for name, shape in _kinds(header)
    )


def _width(header: _Header, shape: tuple[int, ...]) -> int:
    """Bytes of one tensor."""
    n_numbers = math.prod(shape)
    if header.version < 2 or len(shape) == 1:
        return 4 * n_numbers
    return n_numbers + 4 * (n_numbers // header.group_size)


def _tensors(header: _Header, path: Path) -> Iterator[tuple[str, LazyTensor]]:
    at = header.n_bytes
    for kind, shape in _kinds(header):
        for layer in range(header.n_layers if "{}" in kind else 1):
            if kind:
                name = kind.format(layer) + ".weight"
                is_quantised = header.version == 2 and len(shape) > 1
                read_one = _quantised if is_quantised else _plain
                yield name, read_one(name, shape, path, at, header.group_size)
            at += _width(header, shape)


def _plain(name: str, shape: tuple[int, ...], path: Path, at: int, _: int) -> LazyTensor:
    return lazy.stored(StoredTensor(name, "F32", shape, path, at, 4 * math.prod(shape)))


def _quantised(name: str, shape: tuple[int, ...], path: Path, at: int, group_size: int) -> LazyTensor:
    n_numbers = math.prod(shape)
    n_groups = n_numbers // group_size
    numbers = lazy.stored(StoredTensor(name, "I8", (n_groups, group_size), path, at, n_numbers))
    scales = lazy.stored(StoredTensor(name, "F32", (n_groups, 1), path, at + n_numbers, 4 * n_groups))

    def load() -> Tensor:
        factors = scales.load()
        if not (torch.isfinite(factors) & (factors >= 0)).all():
            what = f"the scales of {name} are no scales: the file is damaged, or of llama2.c before version 2 was final"
            raise ArtefactError(what, where=str(path), hint="export it again")
        return (numbers.load().float() * factors).view(shape)

    return LazyTensor(shape, torch.float32, load)


def _no_model(path: Path, head: bytes, why: str) -> ArtefactError:
    kind = disguise.recognise(head)
    what = f"{path.name} is {kind[0]}" if kind else f"{path.name} is no model of llama2.c: {why}"
    return ArtefactError(what, where=str(path), hint=kind[1] if kind else None)
