"""Puts the tensors of another program where they belong in a model of ours.

A reader lists a `Place` for each tensor that the other program's model has. Whatever is missing, left over or of
another shape is an ArtefactError with the other program's names, since those are what its owner knows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from groundup import models
from groundup.errors import ArtefactError
from groundup.layers.rope import to_half_split
from groundup.weights import portable
from groundup.weights.hf_config import LARGEST
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import quoted


@dataclass(frozen=True)
class Place:
    """Where a tensor goes: to one of ours, or to several that lie in it one below the other."""

    ours: tuple[str, ...]
    is_transposed: bool = False
    """It keeps (in, out), where a Linear keeps (out, in)."""
    n_interleaved: int = 0
    """The number of heads whose rows are in RoPE's interleaved order, and are to be half-split."""


def place(
    family: str, config: Any, theirs: Mapping[str, LazyTensor], places: Mapping[str, Place], file: Path
) -> dict[str, LazyTensor]:
    """Our tensors by name, out of theirs; nothing is read yet. ArtefactError lists every tensor that does not fit."""
    expected = portable.shapes(family, config)
    shapes = {name: _their_shape(target, expected) for name, target in places.items()}
    portable.refuse(list(portable.differences(shapes, theirs)), str(file))
    ours: dict[str, LazyTensor] = {}
    for name, target in places.items():
        tensor = theirs[name].transposed() if target.is_transposed else theirs[name]
        if target.n_interleaved:
            tensor = tensor.mapped(lambda rows, n=target.n_interleaved: to_half_split(rows, n))
        start = 0
        for part in target.ours:
            stop = start + expected[part][0]
            ours[part] = tensor.rows(start, stop) if len(target.ours) > 1 else tensor
            start = stop
    return ours


def _their_shape(target: Place, expected: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    shape = (sum(expected[part][0] for part in target.ours), *expected[target.ours[0]][1:])
    return shape[::-1] if target.is_transposed else shape


def zeros(family: str, config: Any, ours: Collection[str]) -> dict[str, LazyTensor]:
    """Biases that the other program's model does without: adding zeros is exactly the same as adding nothing."""
    absent = {
        name: shape
        for name, shape in portable.shapes(family, config).items()
        if name.endswith(".bias") and name not in ours
    }
    return {
        name: LazyTensor(shape, torch.float32, lambda shape=shape: torch.zeros(shape)) for name, shape in absent.items()
    }


def configure(family: str, theirs: Mapping[str, LazyTensor], file: Path, **fields: Any) -> Any:
    """A Config of ours. ArtefactError if there can be no such model, or none of that size in this file."""
    try:
        config = models.family(family).Config(**fields)
    except ValueError as error:
        raise ArtefactError(f"the file describes no {family} that can be built: {error}", where=str(file)) from error
    portable.refuse_other_size(family, config, theirs, str(file))
    return config


def is_tied(theirs: Mapping[str, LazyTensor], embedding: str, head: str) -> bool:
    """Whether the output head is the embedding table: kept once, or twice with the same numbers."""
    if head not in theirs or embedding not in theirs:
        return head not in theirs
    one, other = theirs[embedding].load(), theirs[head].load()
    is_one = one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
    return one.shape == other.shape and (is_one or torch.equal(one, other))


def setting(settings: Any, name: str, kind: type, file: Path, default: Any = ...) -> Any:
    """One value of the settings that lie beside the tensors, of the right kind; `default` if it may be absent."""
    value = settings.get(name) if isinstance(settings, Mapping) else None
    if value is None and default is not ...:
        return default
    if type(value) is int and abs(value) > LARGEST:
        raise ArtefactError(f"{name} is too large in the settings of the model", where=str(file))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        # Of other kinds only the name: a pair of one pair twice, forty times over, would be a terabyte of text.
        shown = quoted(value) if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"
        what = "is missing" if value is None else f"is {shown}, and should be of the kind {kind.__name__}"
        raise ArtefactError(f"{name} {what} in the settings of the model", where=str(file))
    return value
