"""Which module of another program's model computes the same as which of ours.

A family's HF_MODULES says it for the modules that hold weights; what holds those (attention, feed-forward, block)
follows from it, because both sides nest alike:

    model.layers.0.self_attn.q_proj  is  blocks.0.attn.q_proj
    model.layers.0.self_attn         is  blocks.0.attn
    model.layers.0                   is  blocks.0
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Pair:
    """One of their modules and those of ours that stand in it, one below the other.

    `is_transposed`: its weight is kept as (in, out), as GPT-2's Conv1D does.
    """

    theirs: str
    ours: tuple[str, ...]
    is_transposed: bool = False


def pairs(ours: nn.Module, modules: Mapping[str, str] | None = None, transposed: tuple[str, ...] = ()) -> list[Pair]:
    """Every module that holds weights, theirs beside ours; `modules` is a table like a family's HF_MODULES.

    Without it, the table of the file that the model's class stands in is taken. A model without a table has none.
    """
    family = sys.modules[type(ours).__module__]
    if modules is None:
        transposed = getattr(family, "HF_TRANSPOSED", ())
    table: Mapping[str, str] = getattr(family, "HF_MODULES", {}) if modules is None else modules
    found = []
    for theirs, names in table.items():
        for numbers in _numbers(theirs.count("{}"), ours):
            is_transposed = bool(transposed) and theirs.endswith(transposed)
            split = tuple(name.format(*numbers) for name in names.split())
            found.append(Pair(theirs.format(*numbers), split, is_transposed))
    return found


def _numbers(n_places: int, model: Any) -> Iterator[tuple[int, ...]]:
    """What stands for "{}" in a name: nothing, each layer, or each expert of each layer."""
    if n_places == 0:
        yield ()
        return
    for layer in range(len(model.blocks)):
        yield from ((layer, expert) for expert in range(model.config.n_experts)) if n_places > 1 else [(layer,)]


def modules_by_path(pairs: list[Pair], live: Mapping[str, str] | None = None) -> dict[str, tuple[str, ...]]:
    """The name of our module by the path of theirs, containers included.

    `live` is for programs whose models in memory are named otherwise than their files: path in memory by path in files.
    """
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        path, ours = (live or {}).get(pair.theirs, pair.theirs), pair.ours
        found[path] = ours
        (block, inside), (our_block, our_inside) = _cut(path), _cut(ours[0])
        if not block or not our_block:
            continue
        found.setdefault(block, (our_block,))
        # Attention in a module of its own on one side only: then what holds one is not what holds the other.
        for depth in range(1, len(inside)) if len(inside) == len(our_inside) else ():
            found.setdefault(".".join([block, *inside[:depth]]), (".".join([our_block, *our_inside[:depth]]),))
    return found


def _cut(path: str) -> tuple[str, list[str]]:
    """The block that a module is in, and the path inside: "h.0", ["attn", "c_attn"]; ("", []) outside of blocks."""
    parts = path.split(".")
    numbers = [n for n, part in enumerate(parts) if part.isdigit()]
    return (".".join(parts[: numbers[0] + 1]), parts[numbers[0] + 1 :]) if numbers else ("", [])


def own_modules(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Every module of a model under its own name, except those inside experts, which see only some of the positions."""
    return {path: (path,) for path, _ in model.named_modules() if path and ".experts." not in path}


def to_our_names(pairs: list[Pair], theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their tensors (weights, or gradients) under our names and in our shapes; `ours` has the shapes."""
    found = {}
    for pair in pairs:
        for kind in ("weight", "bias"):
            tensor = theirs.get(f"{pair.theirs}.{kind}")
            if tensor is None:
                continue
            tensor = tensor.T if pair.is_transposed and kind == "weight" else tensor
            names = [f"{name}.{kind}" for name in pair.ours]
            sizes = [len(ours[name]) if name in ours else len(tensor) // len(names) for name in names]
            if sum(sizes) == len(tensor):
                found |= dict(zip(names, tensor.split(sizes), strict=True))
            elif len(names) == 1:
                found[names[0]] = tensor
    return found


def as_in_files(model: Any, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a transformers model under the names, and in the shapes, that its files have.

    Version 5 keeps some otherwise in memory, such as all experts in one tensor; version 4 does not.
    """
    try:
        from transformers import core_model_loading
    except ImportError:
        return dict(tensors)
    with torch.no_grad():
        return core_model_loading.revert_weight_conversion(model, dict(tensors))


def live_paths(model: Any) -> dict[str, str]:
    """The path in memory of each module of a transformers model by its path in files, where the two differ."""
    in_memory = {parameter.data_ptr(): name for name, parameter in model.named_parameters()}
    found = {}
    for name, tensor in as_in_files(model, dict(model.named_parameters())).items():
        live = in_memory.get(tensor.data_ptr(), name)
        if live != name and live.rpartition(".")[2] == name.rpartition(".")[2]:
            found[name.rpartition(".")[0]] = live.rpartition(".")[0]
    return found
