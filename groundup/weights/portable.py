"""Portable: a model on its way from one format to another, in our terms, with nothing read yet.

    any format in  ─ read(path) ─▸  Portable  ─ write(path, portable) ─▸  any format out
                                       │
                                       └─ build(portable) ─▸ a model in memory

So a new format is one file that knows the format and our names, and no other format.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import psutil
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from groundup import models
from groundup.errors import ArtefactError
from groundup.layers.kernels import Kernels
from groundup.tokenizer.protocol import Tokenizer
from groundup.weights import lazy
from groundup.weights.lazy import LazyTensor
from groundup.weights.stored_tensor import quoted

MAX_SHOWN = 20
"""Lines of a list of differences; a wrong configuration differs in every tensor."""


@dataclass
class Portable:
    """`tensors` by the names of our parameters, without a tied `lm_head`; `where` it came from, for errors."""

    family: str
    config: Any
    tensors: Mapping[str, LazyTensor]
    tokenizer: Tokenizer | None = None
    where: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What whoever reads it should know, such as a bias that was absent and is zero now."""

    @property
    def n_parameters(self) -> int:
        return count_numbers(self.tensors)


def of(model: nn.Module, tokenizer: Tokenizer | None = None) -> Portable:
    """A model in memory, whose weights are shared and not copied."""
    tensors = {name: lazy.of(parameter) for name, parameter in model.named_parameters()}
    return Portable(models.name_of(model.config), model.config, tensors, tokenizer)


def build(
    portable: Portable, device: str | torch.device = "cpu", kernels: Kernels = "fused", *, share: bool = False
) -> nn.Module:
    """The model, in fp32, after its names and shapes were checked and before memory is taken for it.

    With `share`, weights that lie in fp32 in a file stay there, memory-mapped, and cost nothing until they are used;
    such a model is for reading. Without it every weight is the model's own.
    """
    check(portable)
    model = outline(portable.family, portable.config, kernels)
    with torch.no_grad():
        for name, parameter in list(model.named_parameters()):
            tensor = portable.tensors[name].load()
            own = tensor.to(device, torch.float32, copy=not share).contiguous()
            _put(model, name, nn.Parameter(own, requires_grad=parameter.requires_grad))
    return model


def fill(model: nn.Module, tensors: Mapping[str, LazyTensor], where: str | None = None) -> None:
    """Copy weights into a model that is there already, whatever their dtype and its device."""
    ours: dict[str, Tensor] = dict(model.named_parameters())
    refuse(list(differences({name: tuple(parameter.shape) for name, parameter in ours.items()}, tensors)), where)
    with torch.no_grad():
        for name, parameter in ours.items():
            parameter.copy_(tensors[name].load())


def finite(source: Portable) -> Portable:
    """The same model, a tensor of which is an ArtefactError when it is loaded and holds what is no number."""

    def check(name: str, tensor: Tensor) -> Tensor:
        low, high = torch.aminmax(tensor)  # of all numbers without a copy of them, and NaN if any is
        if not (torch.isfinite(low.float()) and torch.isfinite(high.float())):
            what = f"{name} has values that are not finite in fp32, so no answer of the model would make sense"
            raise ArtefactError(what, where=source.where, hint="take an earlier checkpoint, or download it again")
        return tensor

    tensors = {name: tensor.mapped(partial(check, name)) for name, tensor in source.tensors.items()}
    return replace(source, tensors=tensors)


def _put(model: nn.Module, name: str, parameter: nn.Parameter) -> None:
    path, _, last = name.rpartition(".")
    setattr(cast(nn.Module, model.get_submodule(path)), last, parameter)


def fits_in_memory(portable: Portable, copies: int = 1) -> bool:
    """Is there room for that many models in fp32, and as much again?"""
    return (copies + 1) * 4 * portable.n_parameters < psutil.virtual_memory().available


def outline(family: str, config: Any, kernels: Kernels = "fused") -> nn.Module:
    """A model that has shapes and no numbers: of 405 billion parameters too, it takes no memory."""
    with torch.device("meta"), _NoNumbers():
        return models.family(family).Model(config, kernels)


class _NoNumbers(TorchFunctionMode):
    """Skips what would only fill in numbers that are not there: normal_, zero_ and their like.

    PyTorch would compute shapes for each of them, the first time by importing for a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name.endswith("_") and not name.endswith("__"):
            return args[0]
        return func(*args, **(kwargs or {}))


def shapes(family: str, config: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter of a model, by name."""
    return {name: tuple(parameter.shape) for name, parameter in outline(family, config).named_parameters()}


def check(portable: Portable) -> None:
    """ArtefactError that lists every tensor that is missing, unknown or of another shape."""
    refuse_other_size(portable.family, portable.config, portable.tensors, portable.where)
    expected = shapes(portable.family, portable.config)
    refuse(list(differences(expected, portable.tensors)), portable.where)


def refuse_other_size(family: str, config: Any, tensors: Mapping[str, LazyTensor], where: str | None) -> None:
    """Before even an outline is made of a model of the size that a configuration claims and a file cannot have."""
    claimed = models.family(family).count_parameters(config)
    n_stored = count_numbers(tensors)
    if config.n_layers > len(tensors) or claimed > 2 * n_stored:
        raise ArtefactError(
            f"the configuration describes {config.n_layers} layers with {claimed:,} parameters; "
            f"the weights are {len(tensors)} tensors with {n_stored:,} numbers",
            where=where,
        )


def count_numbers(tensors: Mapping[str, LazyTensor]) -> int:
    """Of all tensors together."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def differences(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, LazyTensor]) -> Iterator[str]:
    """A line for each tensor that is not as it should be, by name."""
    for name, shape in expected.items():
        if name not in found:
            yield f"{name} is missing, which has shape {shape}"
        elif found[name].shape != shape:
            yield f"{name} has shape {quoted(found[name].shape)}, not {shape}"
        elif not found[name].dtype.is_floating_point:
            yield f"{name} has the dtype {found[name].dtype}, which holds no weights"
    for name, tensor in found.items():
        if name not in expected:
            shown = name if name.isprintable() and len(name) <= 100 else quoted(name)
            yield f"{shown} is unknown, and has shape {quoted(tensor.shape)}"


def refuse(faults: list[str], where: str | None) -> None:
    """ArtefactError with one line for each fault, if there is any."""
    if faults:
        shown = faults[:MAX_SHOWN]
        shown += [f"and {len(faults) - MAX_SHOWN} more"] if len(faults) > MAX_SHOWN else []
        raise ArtefactError("the tensors are not those of this configuration:\n  " + "\n  ".join(shown), where=where)
