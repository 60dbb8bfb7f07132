"""GGUF, the one file that llama.cpp and Ollama open: a model with its tokenizer and chat template, both ways.

Written are F32, F16, BF16, Q8_0 and Q4_0, tensor by tensor and in stretches, so that a model larger than memory can be;
read are those and llama.cpp's other quantisations, as fp32. What is said about the model is in gguf_config.py, the
tensors' names in gguf_names.py, the tokenizer in gguf_tokenizer.py, the bytes in gguf_file.py and gguf_blocks.py.

    gguf.write(Path("model.gguf"), portable.of(model, tokenizer), "Q8_0")
    model = portable.build(gguf.read(Path("model.gguf")))
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from groundup import artifact, models
from groundup.errors import ArtefactError, EnvironmentFault, UsageError
from groundup.tokenizer import chat
from groundup.weights import gguf_blocks, gguf_config, gguf_file, gguf_names, gguf_rope, gguf_tokenizer, lazy, portable
from groundup.weights.gguf_file import GGUF
from groundup.weights.lazy import LazyTensor
from groundup.weights.portable import Portable
from groundup.weights.stored_tensor import count_bytes

ENCODERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "F32": lambda numbers: numbers,
    "F16": gguf_blocks.round_f16,
    "BF16": gguf_blocks.round_bf16,
    "Q8_0": gguf_blocks.quantise_q8_0,
    "Q4_0": gguf_blocks.quantise_q4_0,
}
"""What can be written, and how float32 becomes it."""

FILE_TYPES = {"F32": "ALL_F32"} | {dtype: f"MOSTLY_{dtype}" for dtype in ("F16", "BF16", "Q8_0", "Q4_0")}

TABLES = ("token_embd.weight", "output.weight")
"""What every id reads and every logit is made of: four bits would be few there, as llama.cpp finds too."""

STRETCH = 1 << 20
"""Numbers that are rounded at a time."""


# --- out ---


@dataclass(frozen=True)
class Entry:
    """A tensor as it is to stand in the file: `parts` one below the other, or in a dimension of their own."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parts: Sequence[LazyTensor]


def write(file: Path | str, source: Portable, dtype: str = "F16", template: str | None = None) -> dict[str, str]:
    """Write the model to a file, which appears when it is whole. Returns the dtype of each tensor.

    dtype: a key of ENCODERS. What llama.cpp wants in full precision (norms, biases, GPT-2's positions, routers) stays
    F32; with Q4_0 the TABLES are Q8_0; rows that cannot be cut into blocks of 32 are F16. template: a name of
    chat_templates.TEMPLATES, in place of the tokenizer's own. UsageError: a model, a tokenizer or a number that
    llama.cpp cannot hold.
    """
    if dtype not in ENCODERS:
        raise UsageError(f"dtype is {dtype!r}; valid values are {', '.join(ENCODERS)}")
    refuse_elsewhere(source)
    portable.check(source)
    package = _package()
    shape, factors = gguf_config.to_metadata(source.config)
    tokenizer = gguf_tokenizer.to_metadata(source.tokenizer, source.config.vocab_size)
    if template is not None:
        tokenizer["tokenizer.chat_template"] = chat.find(template).jinja
    metadata = _general(source, package.LlamaFileType[FILE_TYPES[dtype]], package.GGML_QUANT_VERSION)
    entries = list(_entries(source, dtype, factors))

    with artifact.writing_file(file) as temporary:
        writer = package.GGUFWriter(temporary, models.family(source.family).GGUF_ARCHITECTURE)
        try:
            for key, value in (metadata | shape | tokenizer).items():
                writer.add_key_value(key, value, _kind(value, package.GGUFValueType))
            _write_tensors(writer, entries, package.GGMLQuantizationType)
        finally:
            writer.close()
    return {entry.name: entry.dtype for entry in entries}


def refuse_elsewhere(source: Portable) -> None:
    """UsageError for a model that llama.cpp cannot compute."""
    family = models.family(source.family)
    reason = None
    if not hasattr(family, "GGUF_ARCHITECTURE"):
        reason = getattr(family, "NOT_ELSEWHERE", "llama.cpp has no such architecture")
    elif source.family == "gpt2" and source.config.activation != "gelu_tanh":
        reason = "llama.cpp computes GELU in its tanh form, and this model the exact one, as nanoGPT's do"
    if reason is not None:
        raise UsageError(
            f"GGUF cannot hold a {source.family} model: {reason}",
            where=source.where,
            hint="its checkpoint opens in groundup; groundup export single-file makes it one file of Python",
        )


def _package() -> ModuleType:
    try:
        import gguf
    except ImportError as error:
        raise EnvironmentFault("writing GGUF needs the package gguf", hint="pip install gguf") from error
    return gguf


def _general(source: Portable, file_type: int, quantization_version: int) -> dict[str, Any]:
    return {
        "general.type": "model",
        "general.name": _name(source),
        "general.file_type": int(file_type),
        "general.quantization_version": quantization_version,
    }


def _name(source: Portable) -> str:
    """What people call it: the name it had in a GGUF file, of its run, of its folder, else of its family."""
    if isinstance(name := source.facts.get("name"), str):
        return name
    folder = Path(source.where or "").absolute()
    if folder.parent.name == "checkpoints":
        folder = folder.parent.parent
    return folder.stem if source.where else f"groundup {source.family}"


def _kind(value: Any, kinds: Any) -> Any:
    # Ids and sizes are unsigned; numbers in arrays, which the package looks at itself, are not.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return kinds.UINT32 if is_whole else kinds.get_type(value)


def _entries(source: Portable, dtype: str, factors: np.ndarray | None) -> Iterator[Entry]:
    if factors is not None:
        yield Entry(gguf_rope.FREQUENCIES, factors.shape, "F32", [lazy.of(torch.from_numpy(factors))])
    architecture = models.family(source.family).GGUF_ARCHITECTURE
    shapes = {name: tensor.shape for name, tensor in source.tensors.items()}
    for row in gguf_names.rows(architecture, source.config, source.tensors):
        shape = row.shape(shapes)
        is_f32 = len(shape) == 1 or row.is_always_f32
        yield Entry(row.theirs, shape, "F32" if is_f32 else _dtype(row.theirs, shape, dtype), row.parts(source.tensors))


def _dtype(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """What a matrix is kept as."""
    if shape[-1] % gguf_blocks.BLOCKS[wanted].n_numbers:
        return "F16"
    return "Q8_0" if wanted == "Q4_0" and name in TABLES else wanted


def _write_tensors(writer: Any, entries: Sequence[Entry], types: Any) -> None:
    sizes = [count_bytes(entry.dtype, entry.shape) for entry in entries]
    for entry, size in zip(entries, sizes, strict=True):
        writer.add_tensor_info(entry.name, entry.shape, np.dtype(np.float32), size, types[entry.dtype])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    # The package would have each tensor whole; what it writes before and between them is its business.
    out = writer.fout[0]
    writer.write_padding(out, out.tell())
    for entry, size in zip(entries, sizes, strict=True):
        _write_numbers(out, entry)
        writer.write_padding(out, size)


def _write_numbers(out: Any, entry: Entry) -> None:
    """A tensor's bytes, some rows at a time. UsageError on a number that the dtype cannot hold."""
    for part in entry.parts:
        tensor = part.load()
        step = max(1, STRETCH // prod(tensor.shape[1:]))
        for start in range(0, len(tensor), step):
            out.write(_encode(tensor[start : start + step].to("cpu", torch.float32).contiguous().numpy(), entry))
        del tensor  # before the next is there


def _encode(numbers: np.ndarray, entry: Entry) -> np.ndarray:
    too_large = UsageError(
        f"{entry.name} has numbers that are not finite, or too large for {entry.dtype}",
        hint="BF16 and F32 hold numbers of any size",
    )
    try:
        encoded = ENCODERS[entry.dtype](numbers)
    except ValueError as error:
        raise too_large from error
    if entry.dtype == "F16" and not np.isfinite(encoded).all():
        raise too_large
    return np.ascontiguousarray(encoded).view(np.uint8)


# --- in ---


def read(file: Path | str) -> Portable:
    """The model of a file, of which only the header and the tokenizer are read.

    ArtefactError: damaged; an architecture, a setting or a tokenizer that is not known here; tensors that are missing,
    unknown or of another shape, all of them listed.
    """
    where = str(file)
    stored = gguf_file.read(file)
    tensors = dict(stored.tensors)
    factors = _factors(tensors.pop(gguf_rope.FREQUENCIES, None), where)
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise ArtefactError("the file holds no language model: token_embd.weight is missing", where=where)
    is_tied = "output.weight" not in tensors
    family, config = gguf_config.from_metadata(stored.metadata, embedding.shape[0], is_tied, factors, where)

    found = {name: lazy.stored(tensor) for name, tensor in tensors.items()}
    portable.refuse_other_size(family, config, found, where)
    shapes = portable.shapes(family, config)
    rows = list(gguf_names.rows(stored.metadata["general.architecture"], config, shapes))
    expected = {row.theirs: row.shape(shapes) for row in rows}
    portable.refuse(list(portable.differences(expected, found)), where)
    ours = {name: part for row in rows for name, part in row.cut(tensors[row.theirs]).items()}
    tokenizer = gguf_tokenizer.from_metadata(stored.metadata, where)
    return Portable(family, config, ours, tokenizer, where, _facts(stored))


def _factors(stored: Any, where: str) -> np.ndarray | None:
    if stored is None:
        return None
    if len(stored.shape) != 1 or stored.n_bytes > 1 << 20:
        raise ArtefactError(f"{stored.name} has shape {stored.shape}, which is no list of factors", where=where)
    return stored.numbers()


def _facts(stored: GGUF) -> dict[str, Any]:
    said: Mapping[str, Any] = stored.metadata
    return {"name": said.get("general.name")} if isinstance(said.get("general.name"), str) else {}
