"""Hugging Face's model folders: the names and shapes of their tensors and ours, and the folders read and written.

Nothing is dropped or made up on the way in. A tensor that has no place, one that is missing or has another shape: each
is named. Only buffers that older versions stored beside the weights are passed over, because they hold no learned
number. What the names are stands at the foot of each file of models/; config.json is hf_config.py's.

    config.json, model.safetensors                                  or, of a large model,
    config.json, model-00001-of-00003.safetensors ..., model.safetensors.index.json
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from groundup import models
from groundup.errors import ArtefactError, UsageError
from groundup.tokenizer import files as tokenizer_files
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights import hf_config, lazy, portable, safetensors_writer, tensors
from groundup.weights.lazy import LazyTensor
from groundup.weights.portable import Portable
from groundup.weights.tensors import INDEX, TENSORS

SHARD = "model-{:05}-of-{:05}.safetensors"
MAX_SHARD_BYTES = 5_000_000_000
BUFFERS = re.compile(r".*\.(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq)")
"""The causal mask of GPT-2 and the frequencies of RoPE, which are computed."""


# --- names ---


@dataclass(frozen=True)
class Row:
    """One of their tensors and the ones of ours that stand in it, one below the other.

    `is_transposed`: GPT-2's `Conv1D` keeps (in, out) where a Linear keeps (out, in).
    """

    theirs: str
    ours: tuple[str, ...]
    is_transposed: bool


def rows(family_name: str, config: Any, ours: Mapping[str, Any]) -> Iterator[Row]:
    """Every tensor of a model in Hugging Face's terms, for the names that the model has."""
    family = models.family(family_name)
    if hasattr(family, "NOT_ELSEWHERE"):
        yield from (Row(name, (name,), False) for name in ours)
        return
    for their_module, our_modules in family.HF_MODULES.items():
        for numbers in _numbers(their_module.count("{}"), config):
            for kind in ("weight", "bias"):
                names = tuple(f"{module.format(*numbers)}.{kind}" for module in our_modules.split())
                if names[0] in ours:
                    is_transposed = kind == "weight" and their_module.endswith(family.HF_TRANSPOSED)
                    yield Row(f"{their_module.format(*numbers)}.{kind}", names, is_transposed)


def _numbers(n_places: int, config: Any) -> Iterator[tuple[int, ...]]:
    """What stands for "{}" in a name: nothing, each layer, or each expert of each layer."""
    if n_places == 0:
        yield ()
    for layer in range(config.n_layers) if n_places else ():
        yield from ((layer, expert) for expert in range(config.n_experts)) if n_places > 1 else [(layer,)]


def to_theirs(source: Portable) -> dict[str, LazyTensor]:
    """The tensors by Hugging Face's names and in their shapes."""
    theirs = {}
    for row in rows(source.family, source.config, source.tensors):
        tensor = lazy.stacked([source.tensors[name] for name in row.ours])
        theirs[row.theirs] = tensor.transposed() if row.is_transposed else tensor
    return theirs


def to_ours(
    family: str,
    config: Any,
    theirs: Mapping[str, LazyTensor],
    where: str | None = None,
    skipped: list[str] | None = None,
) -> dict[str, LazyTensor]:
    """The tensors by our names. With `skipped`, those without a place are put there and not refused."""
    portable.refuse_other_size(family, config, theirs, where)
    shapes = portable.shapes(family, config)
    table = list(rows(family, config, shapes))
    expected = {row.theirs: _their_shape(row, shapes) for row in table}
    theirs = _in_full_and_once(theirs, list(expected), where)
    if skipped is not None:
        skipped += [f"{name} {tensor.shape}" for name, tensor in theirs.items() if name not in expected]
        theirs = {name: tensor for name, tensor in theirs.items() if name in expected}
    portable.refuse(list(portable.differences(expected, theirs)), where)

    ours = {}
    for row in table:
        tensor = theirs[row.theirs].transposed() if row.is_transposed else theirs[row.theirs]
        start = 0
        for name in row.ours:
            stop = start + shapes[name][0]
            ours[name] = tensor if len(row.ours) == 1 else tensor.rows(start, stop)
            start = stop
    return ours


def _their_shape(row: Row, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    shape = (sum(shapes[name][0] for name in row.ours), *shapes[row.ours[0]][1:])
    return shape[::-1] if row.is_transposed else shape


def _in_full_and_once(theirs: Mapping[str, LazyTensor], names: list[str], where: str | None) -> dict[str, LazyTensor]:
    """The tensors under their full names, without buffers and without a second copy of a tied head."""
    kept = {name: tensor for name, tensor in theirs.items() if not BUFFERS.fullmatch(f".{name}")}
    embedding, head = names[0], "lm_head.weight"

    # Files made from the body of a model, such as the published GPT-2's, leave its name out.
    prefix = embedding.partition(".")[0] + "."
    if embedding not in kept and embedding.removeprefix(prefix) in kept:
        kept = {name if name == head else prefix + name: tensor for name, tensor in kept.items()}

    if head in kept and head not in names and embedding in kept:
        if kept[head].shape != kept[embedding].shape or not torch.equal(kept[head].load(), kept[embedding].load()):
            raise ArtefactError(f"{head} is not {embedding}, to which config.json ties it", where=where)
        del kept[head]
    return kept


# --- folders ---


def read(folder: Path, skipped: list[str] | None = None) -> Portable:
    """The model of a folder. Of its weights only the headers are read."""
    files = tensors.open_model(folder)
    family, config = hf_config.read(files.config, str(folder), skipped)
    stored = {name: lazy.stored(tensor) for name, tensor in files.tensors.items()}
    ours = to_ours(family, config, stored, str(folder), skipped)
    return Portable(family, config, ours, read_tokenizer(folder, skipped), str(folder))


def read_tokenizer(folder: Path, skipped: list[str] | None = None) -> Tokenizer | None:
    """The tokenizer of a folder, if it has one. With `skipped`, one that cannot be read is put there."""
    try:
        return Tokenizer.load(folder) if tokenizer_files.is_in(folder) else None
    except ArtefactError as error:
        if skipped is None:
            error.hint = "; ".join(filter(None, (error.hint, "--force goes on without a tokenizer")))
            raise
        skipped.append(f"the tokenizer: {error}")
        return None


def write(
    folder: Path, source: Portable, dtype: torch.dtype | None = None, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Fill a folder that is there, tensor by tensor: never more than one of them is in memory.

    `dtype` None keeps what each tensor has. A model that Hugging Face's formats cannot hold is a UsageError.
    """
    refuse_elsewhere(source)
    theirs = to_theirs(source)
    write_tensors(folder, theirs, dtype, max_shard_bytes)
    # transformers loads all in the one dtype of config.json: the widest, so that none of several is rounded.
    widest = reduce(torch.promote_types, (tensor.dtype for tensor in theirs.values()))
    write_settings(folder, source.config, source.tokenizer, dtype or widest)


def refuse_elsewhere(source: Portable) -> None:
    """UsageError for a family that only groundup knows."""
    reason = getattr(models.family(source.family), "NOT_ELSEWHERE", None)
    if reason is not None:
        raise UsageError(
            f"Hugging Face's formats cannot hold a {source.family} model: {reason}",
            where=source.where,
            hint="its checkpoint opens in groundup; groundup export single-file makes it one file of Python",
        )


def write_tensors(
    folder: Path,
    theirs: Mapping[str, LazyTensor],
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """One file, or several of at most `max_shard_bytes` each (a larger tensor stands alone) and their index."""
    sizes = {name: math.prod(tensor.shape) * (dtype or tensor.dtype).itemsize for name, tensor in theirs.items()}
    shards: list[dict[str, LazyTensor]] = [{}]
    size = 0
    for name, tensor in theirs.items():
        if shards[-1] and size + sizes[name] > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += sizes[name]
    if len(shards) == 1:
        safetensors_writer.write(folder / TENSORS, shards[0], dtype)
        return

    file_by_tensor = {}
    for number, shard in enumerate(shards, 1):
        file = SHARD.format(number, len(shards))
        safetensors_writer.write(folder / file, shard, dtype)
        file_by_tensor |= dict.fromkeys(shard, file)
    write_json(folder / INDEX, {"metadata": {"total_size": sum(sizes.values())}, "weight_map": file_by_tensor})


def write_settings(folder: Path, config: Any, tokenizer: Tokenizer | None, dtype: torch.dtype) -> None:
    """config.json, generation_config.json and the tokenizer's files."""
    stop = {
        "eos_token_id": list(tokenizer.stop_ids) or None if tokenizer else None,
        "pad_token_id": tokenizer.pad_id if tokenizer else None,
    }
    write_json(folder / "config.json", hf_config.write(config, str(dtype).removeprefix("torch.")) | stop)
    write_json(folder / "generation_config.json", {"bos_token_id": None} | stop)
    if tokenizer is not None:
        tokenizer.save(folder)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Indented, for people, and without the NaN that JSON does not have."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
