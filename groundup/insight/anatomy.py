"""The anatomy of a model: every module with its shape, its parameters, and what it computes for one token.

    root = anatomy.of("llama", models.preset("llama", "215m"))
    [(part.name, part.parameters) for part in root.parts]
    # [("rope", 0), ("tok_embed", 6291456), ("blocks 0-17", 208834560), ("final_norm", 1024), ("lm_head", 0)]

A model is laid out on PyTorch's "meta" device, where tensors have a shape and no numbers: 405 billion parameters take
a quarter of a second and no memory.

What is counted for one token in a forward pass are the products of matrices, 2 FLOPs for each weight: a multiplication
and an addition. Attention multiplies too, without weights: each query with every key, and each score with a value, over
all `context_length` positions, as PyTorch's own counter does. (A causal mask makes half of these vain; a kernel that
leaves them out does half.) Norms, activations, biases and softmax are left out: together they are under 1 %.
"""

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

import groundup
from groundup.insight.anatomy_roles import first_line, role_of
from groundup.layers.attention import Attention
from groundup.layers.embedding import Embedding
from groundup.layers.feed_forward import MLP, MixtureOfExperts, SwiGLU
from groundup.layers.linear import Linear
from groundup.layers.norms import LayerNorm, RMSNorm
from groundup.weights import portable

PACKAGE = Path(groundup.__file__).parent
NORMS = (LayerNorm, RMSNorm)

EMBEDDING, ATTENTION, FEED_FORWARD, NORM, HEAD, OTHER = (
    "embedding",
    "attention",
    "feed-forward",
    "norms",
    "head",
    "other",
)
SECTIONS: tuple[str, ...] = (EMBEDDING, ATTENTION, FEED_FORWARD, NORM, HEAD, OTHER)
"""What parameters are counted by."""


@dataclass(frozen=True)
class Part:
    """One module, or a run of modules that are alike, with everything that is inside."""

    name: str
    """As in the model: "q_proj", or "blocks 0-17" for modules that are alike."""
    kind: str
    """The name of its class."""
    size: str
    """What goes in and comes out, in words: "768 → 3,072"."""
    parameters: int
    active: int
    """The parameters that one token meets: all, but for the experts that were not chosen."""
    matrix: int
    """The weights that one token is multiplied with."""
    flops: int
    """Of one token's forward pass, inside included."""
    kept: int
    """Numbers per token that training keeps for the backward pass."""
    section: str
    """Which of SECTIONS its own parameters belong to."""
    role: str
    """What it does, in a line."""
    where: str
    """The file and line of its class, in the package."""
    doc: str
    """The first line of its class's docstring."""
    parts: tuple["Part", ...] = ()
    count: int = 1
    """How many are alike: `parts` then holds one of them."""
    used: int = 1
    """How many of these a token meets."""

    def walk(self) -> Iterator["Part"]:
        yield self
        for part in self.parts:
            yield from part.walk()

    def parameters_by_section(self) -> dict[str, int]:
        """How many parameters are in embeddings, in attention, and so on."""
        counts = dict.fromkeys(SECTIONS, 0)
        inside = 0
        for part in self.parts:
            for section, count in part.parameters_by_section().items():
                counts[section] += count * self.count
            inside += part.parameters * self.count
        counts[self.section] += self.parameters - inside
        return counts


def of(family: str, config: Any, context_length: int = 0) -> Part:
    """The anatomy of a model that is not there yet; `context_length` 0 means all that it is built for."""
    return take_apart(portable.outline(family, config), context_length)


def of_alike(family: str, config: Any, context_length: int = 0) -> Part:
    """The same of a model whose layers are all alike, which those of every preset are, from one layer: at once."""
    root = of(family, dataclasses.replace(config, n_layers=1), context_length)
    parts = [_times(part, config.n_layers) if part.name == "blocks 0" else part for part in root.parts]
    sums = {name: sum(getattr(part, name) for part in parts) for name in COUNTED}
    return dataclasses.replace(root, parts=tuple(parts), **sums)


def take_apart(model: nn.Module, context_length: int = 0) -> Part:
    """The anatomy of a model, with numbers or without."""
    config = cast(Any, model).config
    return _part("model", model, OTHER, _Setting(config, context_length or config.context_length))


def cache_numbers(model: nn.Module) -> int:
    """Numbers that the KV cache holds for each position of one sequence."""
    cache = cast(Any, model).new_cache(1, 1)
    return cache.keys.numel() + cache.values.numel()


# --- from a module to its part ---


@dataclass(frozen=True)
class _Setting:
    config: Any
    context_length: int

    def positions(self, module: Attention) -> int:
        """How many positions a query is multiplied with."""
        return min(self.context_length, module.window or self.context_length)


def _part(name: str, module: nn.Module, section: str, setting: _Setting) -> Part:
    section = _section(name, module, section)
    inside = tuple(_parts(module, section, setting))
    own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
    matrix, flops, kept = _own_costs(module, setting)
    return Part(
        name=name,
        kind=type(module).__name__,
        size=_size(module),
        parameters=own + sum(part.parameters for part in inside),
        active=own + sum(part.active for part in inside),
        matrix=matrix + sum(part.matrix for part in inside),
        flops=flops + sum(part.flops for part in inside),
        kept=kept + sum(part.kept for part in inside),
        section=section,
        role=role_of(name, module),
        where=_where(type(module)),
        doc=first_line(type(module)),
        parts=inside,
    )


def _parts(module: nn.Module, section: str, setting: _Setting) -> Iterator[Part]:
    rope = getattr(module, "rope", None)
    if rope is not None:
        yield _without_parameters("rope", rope, _rope_size(setting.config), 0)
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            n_active = module.n_active if isinstance(module, MixtureOfExperts) else len(child)
            yield from _folded(name, [_part(name, each, section, setting) for each in child], n_active)
        else:
            yield _part(name, child, section, setting)
    if getattr(module, "lm_head", module) is None:  # tied
        config = setting.config
        size = f"{config.d_model:,} → {config.vocab_size:,}, as tok_embed"
        yield _without_parameters("lm_head", module.tok_embed, size, config.d_model * config.vocab_size)


def _without_parameters(name: str, what: Any, size: str, n_weights: int) -> Part:
    """What is no module of its own: the turning of positions, and a head that is the embedding again."""
    return Part(
        name=name,
        kind=type(what).__name__,
        size=size,
        parameters=0,
        active=0,
        matrix=n_weights,
        flops=2 * n_weights,
        kept=0,
        section=HEAD if name == "lm_head" else OTHER,
        role=role_of(name, what),
        where=_where(type(what)),
        doc=first_line(type(what)),
    )


COUNTED = ("parameters", "active", "matrix", "flops", "kept")


def _times(one: Part, n_layers: int) -> Part:
    """One block as a run of several."""
    sums = {name: n_layers * getattr(one, name) for name in COUNTED}
    name = f"blocks 0-{n_layers - 1}" if n_layers > 1 else one.name
    return dataclasses.replace(one, name=name, size=f"{n_layers} × {one.kind}", count=n_layers, used=n_layers, **sums)


def _folded(name: str, parts: list[Part], n_active: int) -> Iterator[Part]:
    """Runs of modules that are alike as one part; `n_active` of all of them meet a token."""
    start = 0
    for end in range(1, len(parts) + 1):
        if end < len(parts) and parts[end] == parts[start]:
            continue
        one, count = parts[start], end - start
        used = count * n_active // len(parts)
        yield Part(
            name=f"{name} {start}-{end - 1}" if count > 1 else f"{name} {start}",
            kind=one.kind,
            size=f"{count} × {one.kind}" if used == count else f"{used} of {count} × {one.kind}",
            parameters=count * one.parameters,
            active=used * one.active,
            matrix=used * one.matrix,
            flops=used * one.flops,
            kept=used * one.kept,
            section=one.section,
            role=role_of(name, None),
            where=one.where,
            doc=one.doc,
            parts=one.parts,
            count=count,
            used=used,
        )
        start = end


# --- what is known of each kind of module ---


def _own_costs(module: nn.Module, setting: _Setting) -> tuple[int, int, int]:
    """(weights of a matrix, FLOPs, numbers kept for the backward pass) per token, of a module without its insides.

    Kept are: what goes into each product; both sides of each elementwise product; what an activation bends.
    """
    if isinstance(module, Linear):
        n_weights = module.in_features * module.out_features
        return n_weights, 2 * n_weights, 0
    if isinstance(module, Attention):
        d_model, width = module.q_proj.in_features, module.q_proj.out_features
        n_heads = width // module.head_dim
        # x, queries, keys, values, their mean, which goes into o_proj, and for each head the logarithm of its softmax.
        kept = d_model + 2 * width + 2 * module.k_proj.out_features + n_heads
        if module.q_norm is not None:
            kept += width + module.k_proj.out_features
        return 0, 4 * width * setting.positions(module), kept
    if isinstance(module, SwiGLU):
        # x; gate before and after it is bent, up, and their product, which goes into down_proj.
        return 0, 0, module.up_proj.in_features + 4 * module.up_proj.out_features
    if isinstance(module, MLP):
        return 0, 0, module.up_proj.in_features + 2 * module.up_proj.out_features
    if isinstance(module, MixtureOfExperts):
        # What the router read; what comes out of each chosen expert, before its share is taken.
        return 0, 0, (1 + module.n_active) * module.router.in_features
    if isinstance(module, NORMS):
        return 0, 0, module.weight.numel() if module.weight.numel() == setting.config.d_model else 0
    if isinstance(module, Embedding):
        return 0, 0, 0  # a row is looked up
    # Something of another's making: its matrices are taken to be used once for each token.
    n_weights = sum(parameter.numel() for parameter in module.parameters(recurse=False) if parameter.ndim > 1)
    return n_weights, 2 * n_weights, 0


def _section(name: str, module: nn.Module, above: str) -> str:
    if isinstance(module, NORMS):
        return NORM
    if isinstance(module, Embedding):
        return EMBEDDING
    by_name = {"attn": ATTENTION, "mlp": FEED_FORWARD, "lm_head": HEAD}
    return by_name.get(name, above)


def _size(module: nn.Module) -> str:
    if isinstance(module, Linear):
        return f"{module.in_features:,} → {module.out_features:,}" + (" + bias" if module.bias is not None else "")
    if isinstance(module, Embedding):
        return f"{module.n_embeddings:,} × {module.d_model:,}"
    if isinstance(module, NORMS):
        return f"{module.weight.numel():,}" + (" + bias" if getattr(module, "bias", None) is not None else "")
    if isinstance(module, Attention):
        n_heads, n_kv = (proj.out_features // module.head_dim for proj in (module.q_proj, module.k_proj))
        heads = f"{n_heads} × {module.head_dim}" + (f", {n_kv} kv" if n_kv != n_heads else "")
        return heads + (f", {module.window:,} back" if module.window else "")
    if isinstance(module, SwiGLU | MLP):
        return f"{module.up_proj.in_features:,}, inside {module.up_proj.out_features:,}"
    if isinstance(module, MixtureOfExperts):
        return f"{module.n_active} of {len(module.experts)} experts"
    return ""


def _rope_size(config: Any) -> str:
    rope = config.rope
    return f"θ {rope.theta:,.0f}" + (f", {rope.scaling} × {rope.factor:g}" if rope.scaling != "none" else "")


@functools.cache
def _where(cls: type) -> str:
    """layers/linear.py:12"""
    try:
        file, (_, line) = Path(inspect.getfile(cls)), inspect.getsourcelines(cls)
    except (OSError, TypeError):
        return cls.__module__
    return f"{file.relative_to(PACKAGE).as_posix()}:{line}" if file.is_relative_to(PACKAGE) else cls.__module__
