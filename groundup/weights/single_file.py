"""Save and load any module and its optimizer in one file, for people who write their own training loop.

    save_checkpoint(module, optimizer, step, "model.safetensors")
    step = load_checkpoint("model.safetensors", module, optimizer)

The file is safetensors: the tensors of both state dictionaries by number, and what surrounds them (names, learning
rates, the step) as JSON in the file's metadata. No pickle, so opening one from a stranger runs nothing of theirs; the
same state always gives the same bytes. `groundup`'s own runs write folders instead, see checkpoint.py.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from groundup import artifact
from groundup.errors import ArtefactError

KEY = "groundup"
"""The one entry of the metadata: with several, safetensors would write them in any order."""


def save_checkpoint(
    module: nn.Module, optimizer: torch.optim.Optimizer | None, step: int, path_or_file: str | os.PathLike | BinaryIO
) -> None:
    """Write both states and the step to a path, whole or not at all, or to a file open for writing bytes."""
    tensors: dict[str, Tensor] = {}
    state = {"module": module.state_dict(), "optimizer": optimizer.state_dict() if optimizer else None, "step": step}
    outline = json.dumps(_pack(state, tensors), separators=(",", ":"))
    content = safetensors.torch.save(tensors, metadata={KEY: outline})
    if isinstance(path_or_file, str | os.PathLike):
        artifact.write_file(Path(path_or_file), content)
    else:
        path_or_file.write(content)


def load_checkpoint(
    path_or_file: str | os.PathLike | BinaryIO, module: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> int:
    """Put both states back and return the step. ArtefactError if the file is damaged or of another module."""
    if isinstance(path_or_file, str | os.PathLike):
        where = str(path_or_file)
        try:
            content = Path(path_or_file).read_bytes()
        except OSError as error:
            raise ArtefactError(f"cannot read the checkpoint: {error.strerror}", where=where) from error
    else:
        where = str(getattr(path_or_file, "name", "an open file"))
        content = path_or_file.read()

    state = _read(content, where)
    try:
        module.load_state_dict(state["module"])
        if optimizer is not None and state["optimizer"] is not None:
            optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())  # torch writes a paragraph
        raise ArtefactError(f"the checkpoint is of another module or optimizer: {reason}", where=where) from error


def _read(content: bytes, where: str) -> Any:
    try:
        tensors = safetensors.torch.load(content)
        # safetensors has no call for the metadata of bytes: they are JSON after eight bytes of length.
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return _unpack(json.loads(header["__metadata__"][KEY]), tensors)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"this is no checkpoint, or a damaged one: {error}", where=where) from error


def _pack(node: Any, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON, with tensors moved into `tensors` and replaced by their numbers.

    {"w": <tensor>, "betas": (0.9, 0.95)}  ->  {"dict": [["w", {"tensor": "0"}], ["betas", {"tuple": [0.9, 0.95]}]]}
    """
    if isinstance(node, Tensor):
        name = str(len(tensors))
        # A copy, because safetensors refuses tensors that share memory, as tied weights do.
        tensors[name] = node.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(node, dict):
        return {"dict": [[_pack(key, tensors), _pack(value, tensors)] for key, value in node.items()]}
    if isinstance(node, tuple):
        return {"tuple": [_pack(item, tensors) for item in node]}
    if isinstance(node, list):
        return [_pack(item, tensors) for item in node]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise TypeError(f"a state holds a {type(node).__name__}, which cannot be saved without pickle")


def _unpack(node: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_pack`."""
    if isinstance(node, list):
        return [_unpack(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    (kind, content), *_ = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "tuple":
        return tuple(_unpack(item, tensors) for item in content)
    return {_unpack(key, tensors): _unpack(value, tensors) for key, value in content}
