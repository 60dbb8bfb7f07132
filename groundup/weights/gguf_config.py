"""The shape of a model in GGUF's metadata, both ways: `llama.embedding_length` and what else llama.cpp reads.

Numbers with a point are kept there in 32 bits, and what only training needs, such as dropout, not at all. So groundup
writes its own configuration beside them (OWN). It is believed where it agrees with llama.cpp's keys: they are what the
model runs by elsewhere, and may have been edited.

A key that changes what a model computes and is not known here is an ArtefactError that names it. RoPE's keys are in
gguf_rope.py. Source: llama.cpp, `src/llama-model.cpp` and `conversion/base.py`.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from groundup import config as configs
from groundup import models
from groundup.errors import ArtefactError, GroundupError, UsageError
from groundup.layers.rope import attention_factor
from groundup.models import name_of
from groundup.tokenizer.vocabulary import shown
from groundup.weights import gguf_rope

OWN = "groundup.config"

INTEGERS = {
    "context_length": "context_length",
    "embedding_length": "d_model",
    "block_count": "n_layers",
    "feed_forward_length": "d_ff",
    "attention.head_count": "n_heads",
    "attention.head_count_kv": "n_kv_heads",
    "attention.key_length": "head_dim",
    "expert_count": "n_experts",
    "expert_used_count": "n_active",
}
"""Theirs -> ours, where a family's Config has such a field."""

HARMLESS = {"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "expert_feed_forward_length"}
"""Keys that say what others say, or nothing."""


def _norm_eps(architecture: str) -> str:
    return "attention.layer_norm_epsilon" if architecture == "gpt2" else "attention.layer_norm_rms_epsilon"


# --- out ---


def to_metadata(config: Any) -> tuple[dict[str, Any], np.ndarray | None]:
    """llama.cpp's keys for a Config, and the numbers of `rope_freqs.weight` if it needs them.

    UsageError on what llama.cpp does not compute.
    """
    architecture = models.family(name_of(config)).GGUF_ARCHITECTURE
    fields = {field.name for field in dataclasses.fields(config)}
    said: dict[str, Any] = {key: getattr(config, ours) for key, ours in INTEGERS.items() if ours in fields}
    said[_norm_eps(architecture)] = float(config.norm_eps)
    said["vocab_size"] = config.vocab_size
    factors = None
    if "rope" in fields:
        said["attention.value_length"] = said["rope.dimension_count"] = config.head_dim
        rope, factors = gguf_rope.to_metadata(config.rope, config.head_dim, architecture)
        said |= rope
    if 0 < getattr(config, "window", 0) < config.context_length:
        raise UsageError(
            f"llama.cpp lets this kind of model attend to all positions, and this one has a window of {config.window}",
            hint="with a context_length that is no larger, the window changes nothing",
        )
    metadata = {f"{architecture}.{key}": value for key, value in said.items()}
    return metadata | {OWN: json.dumps(configs.to_dict(config))}, factors


# --- in ---


def from_metadata(
    metadata: Mapping[str, Any], vocab_size: int, tie_embeddings: bool, factors: np.ndarray | None, where: str
) -> tuple[str, Any]:
    """(family, Config) of a file; `factors` are the numbers of its `rope_freqs.weight`.

    ArtefactError: an architecture that is not supported; a key that is missing, of another kind, or not known.
    """
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str):
        raise ArtefactError("the file does not say what model it holds: general.architecture is missing", where=where)
    keys = Keys(metadata, architecture, where)
    name = _family(architecture, keys.read("expert_count", int, 0) > 0, where)
    kind = models.family(name).Config
    fields = {field.name for field in dataclasses.fields(kind)}
    try:
        values: dict[str, Any] = {"vocab_size": vocab_size, "tie_embeddings": tie_embeddings}
        for key, ours in INTEGERS.items():
            if ours in fields:
                is_optional = ours in ("n_kv_heads", "head_dim")
                values[ours] = keys.read(key, int, 0) if is_optional else keys.read(key, int)
        values["norm_eps"] = keys.read(_norm_eps(architecture), float)
        config = kind(**values)
        if "rope" in fields:
            rope = gguf_rope.from_keys(keys, config.context_length, config.head_dim, factors)
            config = dataclasses.replace(config, rope=rope)
            keys.must_be("rope.dimension_count", config.head_dim)
    except (ValueError, OverflowError) as error:
        raise ArtefactError(f"the file describes no {name} that can be built: {error}", where=where) from error
    for key, ours in INTEGERS.items():
        if ours not in fields:
            keys.must_be(key, getattr(config, ours, 0))
    keys.must_be("attention.value_length", config.head_dim)
    keys.must_be("attention.causal", True)
    if 0 < keys.read("attention.sliding_window", int, 0) < config.context_length:
        keys.refuse("attention.sliding_window is smaller than context_length, and no window is computed here")
    keys.refuse_unknown()
    return name, _sharpened(config, metadata.get(OWN))


def _family(architecture: str, has_experts: bool, where: str) -> str:
    by_family = {name: getattr(models.family(name), "GGUF_ARCHITECTURE", None) for name in models.names()}
    for name, theirs in by_family.items():
        if (
            theirs is not None
            and architecture == theirs
            and has_experts == hasattr(models.family(name).Config, "n_experts")
        ):
            return name
    kind = f"{shown(architecture)} with experts" if has_experts and architecture in by_family.values() else None
    raise ArtefactError(
        f"general.architecture is {kind or shown(architecture)}, which is not supported",
        where=where,
        hint=f"supported are {', '.join(sorted({theirs for theirs in by_family.values() if theirs}))}",
    )


def _sharpened(config: Any, own: Any) -> Any:
    """The Config with what groundup wrote beside it, in full precision, as far as the two agree."""
    if not isinstance(own, str):
        return config
    try:
        ours = configs.from_dict(type(config), json.loads(own), OWN)
    except (GroundupError, ValueError, TypeError, AttributeError, RecursionError):
        return config  # of another version, or damaged: the keys of llama.cpp say enough
    for field in dataclasses.fields(config):
        theirs, mine = getattr(config, field.name), getattr(ours, field.name)
        is_held = field.name not in ("dropout", "window")
        if not is_held or _is_same(field.name, theirs, mine, config):
            config = dataclasses.replace(config, **{field.name: mine})
    return config


def _is_same(name: str, theirs: Any, mine: Any, config: Any) -> bool:
    if name == "rope":
        slowed = [gguf_rope.slowed_by(rope, config.head_dim) for rope in (theirs, mine)]
        return bool(
            np.float32(theirs.theta) == np.float32(mine.theta)
            and np.allclose(*slowed, rtol=gguf_rope.CLOSE)
            and np.isclose(attention_factor(theirs), attention_factor(mine), rtol=gguf_rope.CLOSE)
        )
    return np.float32(theirs) == np.float32(mine) if isinstance(mine, float) else theirs == mine


class Keys:
    """Reads the keys of one architecture; one that is missing, or of another kind, is an ArtefactError."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, where: str):
        self.where = where
        self.prefix = f"{architecture}."
        self.values = {k.removeprefix(self.prefix): v for k, v in metadata.items() if k.startswith(self.prefix)}
        self.known = set(HARMLESS)

    def read(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of a key, which may be absent if there is a `default`."""
        self.known.add(key)
        value = self.values.get(key)
        if value is None and default is not ...:
            return default
        if type(value) is not kind:
            what = "is missing" if value is None else f"is {shown(value)}, and should be of the kind {kind.__name__}"
            self.refuse(f"{key} {what}")
        # Written as 1e-5 and kept in 32 bits, a number comes back as 9.99999974e-06; the shortest that is kept so.
        with np.errstate(over="ignore"):
            return float(str(np.float32(value))) if kind is float else value

    def must_be(self, key: str, *valid: Any) -> None:
        """Refuse what is not computed here. An absent key is as good as a valid value."""
        self.known.add(key)
        value = self.values.get(key, valid[0])
        if not isinstance(value, bool | int | float | str) or value not in valid:
            self.refuse(f"{key} is {shown(value)}; only {' or '.join(map(str, valid))} can be computed")

    def refuse_unknown(self) -> None:
        if unknown := sorted(self.values.keys() - self.known):
            self.refuse(f"{unknown[0]} is not known, and may change what the model computes")

    def refuse(self, what: str) -> NoReturn:
        raise ArtefactError(f"{self.prefix}{what}", where=self.where)
