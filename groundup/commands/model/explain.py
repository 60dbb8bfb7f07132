"""`groundup model explain`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundup.commands.model import columns, naming
from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.commands.model.naming import Named
    from groundup.insight.anatomy import Part


EXPERT = re.compile(r"\.experts\.(\d+)\.")


@dataclass(frozen=True)
class ExplainConfig:
    model: str = field(default="", metadata={"positional": True})
    """name of a preset, or a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    layer: int | None = None
    """show this block alone, with every weight, its shape and its name in a Hugging Face folder; the first is 0"""
    json: bool = False
    quiet: bool = False


def explain(config: ExplainConfig) -> None:
    """Show every part of a model: its shape, parameters and FLOPs, what it does, and the file it is written in."""
    import orjson

    if not config.model:
        raise UsageError("no model was named", hint="groundup model info lists those that have a name")
    named = naming.find(config.model)
    naming.warn(named.skipped, config.quiet)
    facts, lines = _whole(named) if config.layer is None else _layer(named, config.layer)
    if config.json:
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        columns.show(lines, headings=r"^(part|weight|What|Where) .*|^\S+: ([\d,]+ parameters|block).*")


# --- the whole model ---


def _whole(named: "Named") -> tuple[dict[str, Any], Iterator[str]]:
    from groundup import models
    from groundup.insight import anatomy

    root = anatomy.of(named.family, named.config)
    about = (models.family(named.family).__doc__ or "").strip()
    facts = {"name": named.name, "family": named.family, "about": about, **_facts(root)}
    return facts, _lines(named, root, about)


def _facts(part: "Part") -> dict[str, Any]:
    own = {key: value for key, value in vars(part).items() if key not in ("parts", "kept", "matrix")}
    renamed = {"part": own.pop("name"), "flops_per_token": own.pop("flops"), "active_parameters": own.pop("active")}
    return renamed | own | {"parts": [_facts(inside) for inside in part.parts]}


def _lines(named: "Named", root: "Part", about: str) -> Iterator[str]:
    flops, context = columns.flops(root.flops), named.config.context_length
    title = f"{named.name}: {root.parameters:,} parameters, {flops}FLOPs for a token at a context of {context:,}"
    yield from columns.wrapped(title, 4)
    yield from columns.wrapped(about.partition("\n")[0])
    # The line that draws the way through the network, as the family's file has it.
    for line in about.splitlines():
        yield from columns.wrapped(line.strip(), 4) if line.startswith("    ids ─") else ()
    yield ""
    rows = [("part", "", "parameters", "FLOPs", "what it does"), *_rows(root.parts)]
    tree = list(columns.table(rows, left=(0, 1, 4)))
    has_room = max(map(len, tree)) <= columns.width()
    yield from tree if has_room else columns.table([row[:4] for row in rows], left=(0, 1))
    yield from () if has_room else _roles(root)
    yield from _kinds(root)


def _rows(parts: Iterable["Part"], above: str = "") -> Iterator[tuple[str, str, str, str, str]]:
    """(part, kind and size, parameters, FLOPs, role) of each part; what is inside it stands under it."""
    parts = list(parts)
    for part in parts:
        is_last = part is parts[-1]
        branch, inside = (above + "└ ", above + "  ") if is_last else (above + "├ ", above + "│ ")
        kind = part.size if part.count > 1 else f"{part.kind} {part.size}".rstrip()
        yield branch + part.name, kind, *_numbers(part.parameters, part.flops), part.role
        if part.count > 1:
            yield inside + "one of them:", "", *_numbers(part.parameters // part.count, part.flops // part.used), ""
        yield from _rows(part.parts, inside)


def _numbers(parameters: int, flops: int) -> tuple[str, str]:
    return f"{parameters:,}" if parameters else "-", columns.flops(flops) if flops else "-"


def _roles(root: "Part") -> Iterator[str]:
    """What each part does, once for each name, where there is no room for it in the tree."""
    role_by_name = {part.name.partition(" ")[0]: part.role for part in root.walk() if part is not root}
    wide = max(map(len, role_by_name))
    yield ""
    yield "What each does"
    for name, role in role_by_name.items():
        yield from columns.wrapped(f"  {name:<{wide}}  {role}", wide + 4)


def _kinds(root: "Part") -> Iterator[str]:
    """Where each kind of part is written, and what its docstring says first."""
    kinds = {part.kind: (part.where, part.doc) for part in root.walk() if ":" in part.where}
    wide, wide_where = max(map(len, kinds)), max(len(where) for where, _ in kinds.values())
    indent = wide + wide_where + 6
    yield ""
    yield "Where it is written, in groundup/"
    for kind, (where, doc) in kinds.items():
        if columns.width() >= indent + 60:
            yield from columns.wrapped(f"  {kind:<{wide}}  {where:<{wide_where}}  {doc}", indent)
        else:
            yield f"  {kind:<{wide}}  {where}"
            yield from columns.wrapped(f"      {doc}", 6)


# --- one block ---


def _layer(named: "Named", layer: int) -> tuple[dict[str, Any], Iterator[str]]:
    from groundup.weights import huggingface, portable

    model = portable.outline(named.family, named.config)
    n_layers = len(model.blocks)  # pyright: ignore[reportArgumentType]
    if not 0 <= layer < n_layers:
        raise UsageError(f"layer is {layer}; valid values are 0 to {n_layers - 1}", where="--layer")
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    theirs = {name: row.theirs for row in huggingface.rows(named.family, named.config, shapes) for name in row.ours}
    start = f"blocks.{layer}."
    weights = [
        {"name": name, "shape": list(shape), "huggingface": theirs.get(name)}
        for name, shape in shapes.items()
        if name.startswith(start)
    ]
    facts = {"name": named.name, "family": named.family, "layer": layer, "n_layers": n_layers, "weights": weights}
    return facts, _layer_lines(facts)


def _layer_lines(facts: dict[str, Any]) -> Iterator[str]:
    yield f"{facts['name']}: block {facts['layer']} of 0 to {facts['n_layers'] - 1}"
    yield ""
    rows = [("weight", "shape", "in model.safetensors")]
    rows += [(weight["name"], _shape(weight["shape"]), weight["huggingface"] or "-") for weight in facts["weights"]]
    n_experts = 1 + max((int(found[1]) for name, *_ in rows if (found := EXPERT.search(name))), default=0)
    # Experts are alike: the first stands for all.
    rows = [row for row in rows if not (found := EXPERT.search(row[0])) or found[1] == "0"]
    rows = [tuple(EXPERT.sub(f".experts.0-{n_experts - 1}.", cell) for cell in row) for row in rows]
    whole = list(columns.table(rows, left=(0, 2)))
    if max(map(len, whole)) <= columns.width():
        yield from whole
        return
    for line, (_, _, theirs) in zip(columns.table([row[:2] for row in rows], left=(0,)), rows, strict=True):
        yield line
        yield f"    {theirs}"


def _shape(shape: list[int]) -> str:
    return " × ".join(f"{n:,}" for n in shape)
