"""Opens a model's files: its configuration and where its tensors lie, as plain records, without torch.

    a Hugging Face folder    config.json, and model.safetensors or the shards that model.safetensors.index.json lists
    a GGUF file              both in one; the configuration is its metadata

Nothing but headers is read, so a model of any size opens at once. What the names mean is not known here.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from groundup import artifact
from groundup.errors import ArtefactError, UsageError
from groundup.weights import disguise, gguf_file, safetensors_file, strict_json
from groundup.weights.stored_tensor import StoredTensor, quoted, read_bytes, size_of

__all__ = ["ModelFiles", "StoredTensor", "open_model"]

CONFIG, TENSORS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

Tensor = TypeVar("Tensor")
"""A StoredTensor, or what else a file of tensors is read as."""


@dataclass(frozen=True)
class ModelFiles:
    """A model as its files say it, in their names and terms."""

    format: Literal["huggingface", "gguf"]
    config: dict[str, Any]
    """The content of config.json, or the metadata of a GGUF file."""
    tensors: dict[str, StoredTensor]
    path: Path


def open_model(path: Path | str) -> ModelFiles:
    """A Hugging Face folder or a GGUF file.

    Raises UsageError if nothing is there, ArtefactError for what is there and is no model, or a damaged one.
    """
    path = Path(path)
    if os.path.isdir(path):
        return ModelFiles("huggingface", read_config(path), read_folder(path), path)
    if not os.path.exists(path):
        raise UsageError("there is no such file or folder", where=str(path))
    if path.suffix == ".gguf" or read_head(path).startswith(b"GGUF"):
        found = gguf_file.read(path)
        return ModelFiles("gguf", found.metadata, found.tensors, path)
    if path.name in (TENSORS, INDEX, CONFIG):
        raise UsageError("a model is a folder or a .gguf file", where=str(path), hint=f"give {path.parent}")
    kind = disguise.recognise(read_head(path))
    what = f"{path.name} is neither a folder nor a GGUF file"
    raise ArtefactError(what + (f" but {kind[0]}" if kind else ""), where=str(path), hint=kind[1] if kind else None)


def read_head(file: Path) -> bytes:
    size_of(file)
    return read_bytes(file, 0, 64)


def read_config(folder: Path) -> dict[str, Any]:
    """The content of config.json."""
    refuse_other_folders(folder)
    if not os.path.lexists(folder / CONFIG):
        raise ArtefactError(f"the folder holds no model: {CONFIG} is missing", where=str(folder))
    return strict_json.read(folder / CONFIG)


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of model.safetensors, or of the shards that an index lists."""
    if os.path.lexists(folder / TENSORS):
        return safetensors_file.read(folder / TENSORS)[0]
    if os.path.lexists(folder / INDEX):
        return read_shards(folder / INDEX, lambda shard: safetensors_file.read(shard)[0])
    pickled = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickled:
        what = f"the weights are pickled ({pickled[0]}), and a pickle can run any program"
        is_known = any(name.startswith("pytorch_model") for name in pickled)
        hint = f"groundup import {folder} --out NEW" if is_known else "take its safetensors files"
        raise ArtefactError(what, where=str(folder), hint=hint)
    raise ArtefactError(f"{TENSORS} is missing", where=str(folder))


def read_shards(index: Path, read: Callable[[Path], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors of the files that an index lists; index and files must say the same of every tensor."""
    shard_by_tensor = strict_json.read(index).get("weight_map")
    if not isinstance(shard_by_tensor, dict) or not shard_by_tensor:
        raise ArtefactError("the index lists no tensors", where=str(index))
    tensors: dict[str, Tensor] = {}
    for shard in sorted({_plain_name(shard, index) for shard in shard_by_tensor.values()}):
        for name, tensor in read(index.parent / shard).items():
            if shard_by_tensor.get(name) != shard:
                elsewhere = shard_by_tensor.get(name)
                said = f"the index says it is in {elsewhere}" if elsewhere else "the index does not list it"
                raise ArtefactError(f"{shard} has tensor {quoted(name)}, and {said}", where=str(index))
            tensors[name] = tensor
    if missing := shard_by_tensor.keys() - tensors.keys():
        name = min(missing)
        what = f"the index says that {shard_by_tensor[name]} has tensor {quoted(name)}, and it has not"
        raise ArtefactError(what, where=str(index))
    return tensors


def _plain_name(name: Any, index: Path) -> str:
    try:
        return artifact.safe_name(name)
    except (UsageError, TypeError) as error:
        what = f"the index names {quoted(name)}, which is no file of this folder"
        raise ArtefactError(what, where=str(index)) from error


def refuse_other_folders(folder: Path) -> None:
    """Say what a folder without config.json is, if its files tell: nothing is said of one that is anything else."""
    if os.path.lexists(folder / CONFIG):
        return
    try:
        files = sorted(os.listdir(folder))
    except OSError as error:
        raise ArtefactError(f"cannot read the folder: {error.strerror}", where=str(folder)) from error
    gguf = [name for name in files if name.endswith(".gguf")]
    if gguf:
        what = "the folder holds GGUF files, each of which is a model"
        raise UsageError(what, where=str(folder), hint=f"give {folder / gguf[0]}")
    if not files:
        raise ArtefactError("the folder is empty", where=str(folder))
    if "adapter_config.json" in files:
        what = "the folder holds a LoRA adapter, which is no model without its base"
        raise ArtefactError(what, where=str(folder), hint="merge it into its base model first")
