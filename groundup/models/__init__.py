"""One file = one architecture: adding `models/<name>.py` is all it takes to add one.

Such a file exports
    Config               a frozen dataclass; it raises ValueError naming the field, its value and the valid values
    Model(config)        ids (B, T) -> logits (B, T, vocab_size), and hidden, lm_head_weight, new_cache
    PRESETS              named sizes
    count_parameters     the number of parameters of a Config, by formula
    HF_*, to_hf_config, from_hf_config    its names in Hugging Face's files (weights/huggingface.py)
"""

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, cast, runtime_checkable

from torch import nn

from groundup.layers.initialise import initialise, mimic_trained_attention
from groundup.layers.kernels import Kernels


@runtime_checkable
class Shape(Protocol):
    """What every Config says, whatever the architecture."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_length(self) -> int: ...


def shape_of(model: nn.Module) -> Shape:
    """The Config of a model of ours, for those who hold it as an nn.Module, whose attributes have no types."""
    return cast(Shape, model.config)


def names() -> list[str]:
    """Every architecture there is: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def family(name: str) -> ModuleType:
    """The module of an architecture: family("llama").Model. An unknown name is a ValueError with the known ones."""
    if name not in names():
        raise ValueError(f"model is {name!r}; valid values are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def preset(family_name: str, size: str) -> Any:
    """The Config of a named size, in the spellings that people use: "124", "124M", "gpt2-124m", "nano", "llama-nano".

    Nothing is guessed: a name that is not one of these is a ValueError with the valid ones.
    """
    presets = family(family_name).PRESETS
    wanted = size.lower().removeprefix(f"{family_name}-")
    for name, config in presets.items():
        if wanted in (name, name.removesuffix("m")):
            return config
    raise ValueError(f"size is {size!r}; valid values for {family_name} are {', '.join(presets)}")


def build(
    family_name: str,
    size: str,
    fields: Mapping[str, Any],
    *,
    seed: int | None = None,
    kernels: Kernels = "fused",
    start: str = "normal",
) -> nn.Module:
    """A model of a named size with some fields changed, and fresh weights: always the same ones for a seed.

    `start` "mimetic" begins attention near the identity (see `layers/initialise.py`): small models learn to look things
    up much sooner.

    build("llama", "mini", {"vocab_size": 8000, "rope": {"theta": 500_000.0}}, seed=0)
    """
    model = family(family_name).Model(change(preset(family_name, size), fields), kernels)
    initialise(model, seed)
    if start == "mimetic":
        mimic_trained_attention(model, seed or 0)
    elif start != "normal":
        raise ValueError(f"start is {start!r}; valid values are normal, mimetic")
    return model


def change(config: Any, fields: Mapping[str, Any]) -> Any:
    """A Config with other values. What a rule had filled in (a default of 0), the rule fills in again.

    change(llama.PRESETS["mini"], {"d_model": 512}).d_ff == 1408
    """
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    derived = {
        name: 0
        for name, default in defaults.items()
        if type(default) is int and default == 0 and dataclasses.replace(config, **{name: 0}) == config
    }
    return dataclasses.replace(config, **derived | _checked(config, fields))


def _checked(config: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, if the Config has them and their values are of the right kind; nested ones as what they stand for."""
    checked = {}
    valid = [field.name for field in dataclasses.fields(config)]
    for name, value in fields.items():
        if name not in valid:
            raise ValueError(f"{name} is no field of {type(config).__module__}; valid names are {', '.join(valid)}")
        before = getattr(config, name)
        if dataclasses.is_dataclass(before) and isinstance(value, Mapping):
            value = dataclasses.replace(before, **_checked(before, value))  # pyright: ignore[reportArgumentType]
        if type(before) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(before):
            raise ValueError(f"{name} is {value!r}; valid values are of the kind of {before!r}")
        checked[name] = value
    return checked
