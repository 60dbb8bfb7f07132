"""Our models in Hugging Face's terms: the keys of `config.json` and the names and shapes of the tensors, both ways.

Nothing is dropped or made up on the way in. A setting that our models do not compute, a tensor that has no place, one
that is missing or has another shape: each is an ArtefactError that names it. Only buffers that older versions stored
beside the weights are passed over, because they hold no learned number.

What the names are stands at the foot of each file of models/. This file knows no folders; checkpoint.py has those.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from groundup import models
from groundup.errors import ArtefactError
from groundup.layers.kernels import Kernels

BUFFERS = re.compile(r".*\.(attn\.bias|attn\.masked_bias|rotary_emb\.inv_freq)")
"""The causal mask of GPT-2 and the frequencies of RoPE, which are computed."""


# --- tensors ---


@dataclass(frozen=True)
class Row:
    """One of their tensors and the ones of ours that stand in it, one below the other.

    `is_transposed`: GPT-2's `Conv1D` keeps (in, out) where a Linear keeps (out, in).
    """

    theirs: str
    ours: tuple[str, ...]
    is_transposed: bool


def rows(model: nn.Module) -> Iterator[Row]:
    """Every tensor of a model in Hugging Face's terms."""
    family, config = _family(model), cast(Any, model.config)
    ours = {name for name, _ in model.named_parameters()}
    for their_module, our_modules in family.HF_MODULES.items():
        for layer in range(config.n_layers) if "{}" in their_module else [0]:
            for kind in ("weight", "bias"):
                names = tuple(f"{module.format(layer)}.{kind}" for module in our_modules.split())
                if names[0] in ours:
                    is_transposed = kind == "weight" and their_module.endswith(family.HF_TRANSPOSED)
                    yield Row(f"{their_module.format(layer)}.{kind}", names, is_transposed)


def to_hf(model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(content of config.json, tensors by their names) of a model of ours. The tensors may share its memory."""
    ours = {name: parameter.detach() for name, parameter in model.named_parameters()}
    tensors = {}
    for row in rows(model):
        parts = [ours[name] for name in row.ours]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        tensors[row.theirs] = tensor.T.contiguous() if row.is_transposed else tensor
    return to_config(model.config), tensors


def from_hf(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    device: str | torch.device = "cpu",
    kernels: Kernels = "fused",
    where: str | None = None,
) -> nn.Module:
    """A model of ours, in fp32, from what a Hugging Face folder holds. `where` names the folder in errors."""
    family_name, ours = from_config(config, where)
    family = models.family(family_name)
    _refuse_other_size(family.count_parameters(ours), ours.n_layers, tensors, where)
    with torch.device("meta"):
        model = family.Model(ours, kernels)
    model.to_empty(device=device)
    fill(model, tensors, where)
    return model


def fill(model: nn.Module, tensors: Mapping[str, Tensor], where: str | None = None) -> None:
    """Copy tensors, by Hugging Face's names, into a model of ours, whatever their dtype and device."""
    row_by_name = {row.theirs: row for row in rows(model)}
    ours = dict(model.named_parameters())
    tensors = _in_full_and_once(tensors, list(row_by_name), where)
    _refuse_mismatch(row_by_name, ours, tensors, where)

    with torch.no_grad():
        for name, row in row_by_name.items():
            tensor = tensors[name].T if row.is_transposed else tensors[name]
            for part, into in zip(tensor.split([len(ours[name]) for name in row.ours]), row.ours, strict=True):
                ours[into].copy_(part)


def _family(model: nn.Module) -> Any:
    return models.family(type(model).__module__.rpartition(".")[2])


def _in_full_and_once(tensors: Mapping[str, Tensor], names: list[str], where: str | None) -> dict[str, Tensor]:
    """The tensors under their full names, without buffers and without a second copy of a tied head."""
    kept = {name: tensor for name, tensor in tensors.items() if not BUFFERS.fullmatch(f".{name}")}
    embedding, head = names[0], "lm_head.weight"

    # Files made from the body of a model, such as the published GPT-2's, leave its name out.
    prefix = embedding.partition(".")[0] + "."
    if not any(name.startswith(prefix) for name in kept):
        kept = {name if name == head else prefix + name: tensor for name, tensor in kept.items()}

    if head in kept and head not in names and embedding in kept:
        if not torch.equal(kept[head], kept[embedding]):
            raise ArtefactError(f"{head} is not {embedding}, to which config.json ties it", where=where)
        del kept[head]
    return kept


def _refuse_other_size(n_parameters: int, n_layers: int, tensors: Mapping[str, Tensor], where: str | None) -> None:
    """Before memory is taken for a model of the size that config.json claims and the file may not have."""
    n_stored = sum(tensor.numel() for tensor in tensors.values())
    if n_layers > len(tensors) or n_parameters > 2 * n_stored:
        raise ArtefactError(
            f"config.json describes {n_layers} layers with {n_parameters:,} parameters; "
            f"the file has {len(tensors)} tensors with {n_stored:,} numbers",
            where=where,
        )


def _refuse_mismatch(
    row_by_name: Mapping[str, Row], ours: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str | None
) -> None:
    faults = [f"{name} is unknown" for name in tensors if name not in row_by_name]
    for name, row in row_by_name.items():
        shape = (sum(len(ours[part]) for part in row.ours), *ours[row.ours[0]].shape[1:])
        shape = shape[::-1] if row.is_transposed else shape
        if name not in tensors:
            faults.append(f"{name} is missing")
        elif tuple(tensors[name].shape) != shape:
            faults.append(f"{name} has shape {tuple(tensors[name].shape)}, not {shape}")
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise ArtefactError(f"the tensors are not those that config.json describes: {shown}", where=where)


# --- config.json ---


def to_config(config: Any) -> dict[str, Any]:
    """What config.json says of a Config of ours, as version 4 and version 5 of transformers both read it."""
    family_name = type(config).__module__.rpartition(".")[2]
    family = models.family(family_name)
    return {
        "architectures": [family.HF_ARCHITECTURE],
        "model_type": family_name,
        "vocab_size": config.vocab_size,
        "tie_word_embeddings": config.tie_embeddings,
        **family.to_hf_config(config),
        "torch_dtype": "float32",
        # Left out, transformers would put ids of its own here, which this vocabulary may not even have.
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def from_config(content: Mapping[str, Any], where: str | None = None) -> tuple[str, Any]:
    """(family, Config) that a config.json describes."""
    settings = Settings(content, where)
    name = settings.read("model_type", str)
    if name not in models.names():
        known = ", ".join(models.names())
        raise ArtefactError(f"model_type is {name!r}, which is not supported", where=where, hint=f"supported: {known}")
    settings.must_be("quantization_config", None)
    try:
        return name, models.family(name).from_hf_config(settings)
    except ValueError as error:
        raise ArtefactError(f"config.json describes no {name} that can be built: {error}", where=where) from error


class Settings:
    """Reads a config.json key by key; a key that is missing, or of another kind, is an ArtefactError."""

    def __init__(self, content: Mapping[str, Any], where: str | None = None):
        self.content = content
        self.where = where

    def read(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of a key, which may be absent if there is a `default`."""
        value = self.content.get(key)
        if value is None and default is not ...:
            return default
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            what = "is missing" if value is None else f"is {value!r}, and should be of the kind {kind.__name__}"
            raise ArtefactError(f"{key} {what} in config.json", where=self.where)
        return value

    def table(self, key: str) -> "Settings":
        """The settings inside a key; none if it is absent."""
        return Settings(self.read(key, dict, {}), self.where)

    def must_be(self, key: str, *valid: Any) -> None:
        """Refuse a model that needs what ours do not compute. An absent key is as good as the first valid value."""
        value = self.content.get(key, valid[0])
        if value not in valid:
            only = " or ".join(map(repr, valid))
            raise ArtefactError(f"{key} is {value!r} in config.json; only {only} can be computed", where=self.where)
