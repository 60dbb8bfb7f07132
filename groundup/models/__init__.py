"""One file = one architecture: adding `models/<name>.py` is all it takes to add one.

Such a file exports
    Config               a frozen dataclass; it raises ValueError naming the field, its value and the valid values
    Model(config)        a Decoder (layers/decoder.py): ids (B, T) -> logits (B, T, vocab_size)
    PRESETS              named sizes
    ALIASES              other names that people type for them, if there are any
    count_parameters     the number of parameters of a Config, by formula
and says how other programs hold such a model,
    HF_*, to_hf_config, from_hf_config    its names in Hugging Face's files (weights/huggingface.py)
    GGUF_ARCHITECTURE                     its name in llama.cpp, if that knows it
or NOT_ELSEWHERE, the sentence why none can.
"""

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
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


def name_of(config: Any) -> str:
    """The architecture of a Config (or Model): the name of the file it is from."""
    return type(config).__module__.rpartition(".")[2]


def names() -> list[str]:
    """Every architecture there is: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def family(name: str) -> ModuleType:
    """The module of an architecture: family("llama").Model. An unknown name is a ValueError with the known ones."""
    if name not in names():
        raise ValueError(f"model is {name!r}; valid values are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def preset(family_name: str, size: str) -> Any:
    """The Config of a named size, in the spellings that people use: "124", "124M", "gpt2-124m", "nano", "Llama-3.2-1B".

    Nothing is guessed: a name that is not one of these is a ValueError with the valid ones.
    """
    config = _lookup(family_name, size)
    if config is None:
        presets = list(family(family_name).PRESETS)
        near = _nearest(_plain(size), presets)
        raise ValueError(f"size is {size!r}; valid values for {family_name} are {', '.join(presets)}{near}")
    return config


def find(name: str) -> tuple[str, Any]:
    """(family, Config) of a name that says both: "gpt2-124m", "llama-nano", "Qwen3-0.6B".

    A name that no family has, or several, such as "nano", is a ValueError.
    """
    found = {family_name: config for family_name in names() if (config := _lookup(family_name, name)) is not None}
    if len(found) != 1:
        full = [f"{family_name}-{size}" for family_name in found or names() for size in family(family_name).PRESETS]
        if found:
            full = [f"{family_name}-{_plain(name)}" for family_name in found]
        raise ValueError(f"model is {name!r}; valid values are {', '.join(full)}{_nearest(_plain(name), full)}")
    return next(iter(found.items()))


def _lookup(family_name: str, size: str) -> Any | None:
    module, plain = family(family_name), _plain(size)
    aliases = getattr(module, "ALIASES", {})
    for spelling in (plain, plain.removeprefix(f"{family_name}-")):
        spelling = aliases.get(spelling, spelling)
        for name in (spelling, f"{spelling}m"):
            if name in module.PRESETS:
                return module.PRESETS[name]
    return None


def _plain(size: str) -> str:
    """A name in small letters, without what says how a model was tuned and not what it is."""
    plain = size.lower()
    for tuning in ("-hf", "-base", "-instruct", "-chat"):
        plain = plain.removesuffix(tuning)
    return plain


def _nearest(name: str, valid: Iterable[str]) -> str:
    """What to add to the list of valid names if one of them was probably meant."""
    near = difflib.get_close_matches(name, list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def build(
    family_name: str,
    size: str,
    fields: Mapping[str, Any],
    *,
    seed: int | None = None,
    kernels: Kernels = "fused",
    start: str = "normal",
) -> nn.Module:
    """A model of a named size with some fields changed, and fresh weights, see `fresh`.

    build("llama", "mini", {"vocab_size": 8000, "rope": {"theta": 500_000.0}}, seed=0)
    """
    return fresh(change(preset(family_name, size), fields), seed=seed, kernels=kernels, start=start)


def fresh(config: Any, *, seed: int | None = None, kernels: Kernels = "fused", start: str = "normal") -> nn.Module:
    """The model of a Config with starting weights: always the same ones for a seed.

    `start` "mimetic" begins attention near the identity (see `layers/initialise.py`): small models learn to look things
    up much sooner.
    """
    model = family(name_of(config)).Model(config, kernels)
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
    with_rule = [field.name for field in dataclasses.fields(config) if type(field.default) is int and not field.default]
    derived = {name: 0 for name in with_rule if _is_by_rule(config, name)}
    return dataclasses.replace(config, **derived | _checked(config, fields, name_of(config)))


def _is_by_rule(config: Any, name: str) -> bool:
    """Does the rule for this field give what the Config has?"""
    try:
        return dataclasses.replace(config, **{name: 0}) == config
    except ValueError:  # by the rule there is no such shape: whoever made this one said something else
        return False


def _checked(config: Any, fields: Mapping[str, Any], family_name: str, where: str = "") -> dict[str, Any]:
    """The fields, if the Config has them and their values are of the right kind; nested ones as what they stand for."""
    checked = {}
    valid = [field.name for field in dataclasses.fields(config)]
    for name, value in fields.items():
        if name not in valid:
            what = f"{where}{name} is no field of {family_name}"
            raise ValueError(f"{what}; valid names are {', '.join(valid)}{_nearest(name, valid)}")
        before = getattr(config, name)
        if dataclasses.is_dataclass(before) and isinstance(value, Mapping):
            inner = _checked(before, value, family_name, f"{where}{name}.")
            value = dataclasses.replace(before, **inner)  # pyright: ignore[reportArgumentType]
        if type(before) is float and type(value) is int:
            value = float(value)
        if type(value) is not type(before):
            kind = "tables" if dataclasses.is_dataclass(before) else f"of type {type(before).__name__}"
            raise ValueError(f"{where}{name} is {value!r}, of type {type(value).__name__}; valid values are {kind}")
        checked[name] = value
    return checked
