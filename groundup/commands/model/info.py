"""`groundup model info`."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from groundup.commands.model import columns, naming
from groundup.commands.model.columns import memory
from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.insight.anatomy import Part


RULE = "Kaplan et al. 2020, arXiv 2001.08361, 2.1, and Chowdhery et al. 2022, arXiv 2204.02311, appendix B"

TRAINED_CONTEXT = 2048
"""Positions for which the table foresees training: nobody begins with the 131,072 that some are built for."""


@dataclass(frozen=True)
class InfoConfig:
    model: str = field(default="", metadata={"positional": True})
    """name of a preset, or a run, a checkpoint, a Hugging Face folder or a GGUF file; without it, a table of presets"""
    micro_batch_size: int = 1
    """sequences that training takes at a time"""
    context_length: int = 0
    """positions of a sequence; 0 means all that the model is built for"""
    json: bool = False
    quiet: bool = False


def info(config: InfoConfig) -> None:
    """Parameters, FLOPs for a token, and memory for weights, training and cache; without a name, of every preset."""
    import orjson

    for name in ("micro_batch_size", "context_length"):
        if getattr(config, name) < (name == "micro_batch_size"):
            raise UsageError(f"{name} is {getattr(config, name)}; valid values are whole numbers from 1")
    if config.model:
        facts, lines = _one(config)
    else:
        facts, lines = _all(config)
    if config.json:
        print(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        columns.show(lines, headings=r"^\w.*" if config.model else r"^preset .*")


# --- one model ---


def _one(config: InfoConfig) -> tuple[dict[str, Any], Iterator[str]]:
    from groundup.insight import anatomy, anatomy_costs
    from groundup.weights import portable

    named = naming.find(config.model)
    naming.warn(named.skipped, config.quiet)
    shape = named.config
    context = config.context_length or shape.context_length
    model = portable.outline(named.family, shape)
    root, cache = anatomy.take_apart(model, context), anatomy.cache_numbers(model)
    training = anatomy_costs.training_memory(root, shape, config.micro_batch_size, context)
    operations = anatomy_costs.operations(root, context)
    facts = {
        "name": named.name,
        "family": named.family,
        "config": dataclasses.asdict(shape),
        "parameters": root.parameters,
        "active_parameters": root.active,
        "parameters_by_part": root.parameters_by_section(),
        "flops_per_token": {
            "context_length": context,
            "forward": operations.forward,
            "forward_by_weights": operations.by_weights,
            "forward_by_attention": operations.by_attention,
            "training": operations.training,
            "training_by_rule": operations.training_by_rule,
            "n_of_the_rule": operations.n,
        },
        "memory_bytes": {
            "weights": anatomy_costs.weights_memory(root),
            "cache_per_position": anatomy_costs.cache_memory(cache),
            "cache_at_full_context": anatomy_costs.cache_memory(cache, context),
            "training": dataclasses.asdict(training) | {"total": training.total},
        },
    }
    return facts, _lines(facts, shape, root)


def _lines(facts: dict[str, Any], shape: Any, root: "Part") -> Iterator[str]:
    flops, sizes = facts["flops_per_token"], facts["memory_bytes"]
    yield from columns.wrapped(f"{facts['name']}: {_shape_in_words(facts['family'], shape)}", 4)
    yield ""
    yield f"Parameters{root.parameters:>26,}"
    for part, count in facts["parameters_by_part"].items():
        if part == "head" and not count:
            yield f"  {part:<16}{0:>18}       the embedding again, turned round"
        elif count:
            yield f"  {part:<16}{count:>18,}{_share(count / root.parameters)}"
    if root.active != root.parameters:
        yield f"  {'met by a token':<16}{root.active:>18,}{_share(root.active / root.parameters)}"
    yield ""
    yield f"FLOPs for a token, at a context of {flops['context_length']:,}"
    n = columns.count(flops["n_of_the_rule"])
    for label, key, why in (
        ("forward", "forward", "the products of matrices:"),
        ("  by weights", "forward_by_weights", "2 for each weight of a matrix"),
        ("  by attention", "forward_by_attention", "4 · n_layers · n_heads · head_dim · context"),
        ("training", "training", "3 × forward: going back makes two products of each"),
        ("  by the rule", "training_by_rule", f"6 N + 12 · n_layers · n_heads · head_dim · context, N = {n}; {RULE}"),
    ):
        yield from _row(label, columns.flops(flops[key]), why)
    yield ""
    yield "Memory"
    cache, full = sizes["cache_per_position"], sizes["cache_at_full_context"]
    at_full = f"cache of {flops['context_length']:,}"
    for label, by_dtype in (("weights", sizes["weights"]), ("cache of one id", cache), (at_full, full)):
        yield f"  {label:<18}" + "   ".join(f"{dtype} {memory(n):>8}" for dtype, n in by_dtype.items())
    training = sizes["training"]
    yield f"  training in fp32 with AdamW, on {training['batch_size']} × {training['context_length']:,} ids"
    yield from _row("  parameters", memory(training["parameters"]), "16 bytes each: itself, gradient, two moments")
    yield from _row("  logits", memory(training["logits"]), "of as many ids as the loss looks at together")
    yield from _row("  activations", memory(training["activations"]), "estimated: what is kept for going back")
    yield from _row("  together", memory(training["total"]), "")


def _row(label: str, value: str, why: str) -> Iterator[str]:
    yield from columns.wrapped(f"  {label:<16}{value:>10}   {why}", 31)


def _share(share: float) -> str:
    return f"{share:>8.1%}" if share >= 0.0005 else "  < 0.1%"


def _shape_in_words(family: str, shape: Any) -> str:
    heads = f"{shape.n_heads} heads" + (f" ({shape.n_kv_heads} key-value)" if shape.n_kv_heads != shape.n_heads else "")
    words = [family, f"{shape.n_layers} layers", f"d_model {shape.d_model:,}", f"{heads} of {shape.head_dim}"]
    words += [f"d_ff {shape.d_ff:,}", f"context {shape.context_length:,}", f"vocabulary {shape.vocab_size:,}"]
    return ", ".join(words)


# --- all presets ---


def _all(config: InfoConfig) -> tuple[list[dict[str, Any]], Iterator[str]]:
    from groundup import models
    from groundup.insight import anatomy, anatomy_costs

    rows = []
    for family in models.names():
        for shape in models.family(family).PRESETS.values():
            context = config.context_length or shape.context_length
            root = anatomy.of_alike(family, shape, context)
            cache = 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim
            trained = min(context, TRAINED_CONTEXT)
            training = anatomy_costs.training_memory(root, shape, config.micro_batch_size, trained)
            rows.append(
                {
                    "name": naming.preset_name(family, shape),
                    "family": family,
                    "parameters": root.parameters,
                    "active_parameters": root.active,
                    "n_layers": shape.n_layers,
                    "d_model": shape.d_model,
                    "n_heads": shape.n_heads,
                    "n_kv_heads": shape.n_kv_heads,
                    "context_length": context,
                    "vocab_size": shape.vocab_size,
                    "flops_per_token": root.flops,
                    "weights_bytes_bf16": anatomy_costs.weights_memory(root)["bf16"],
                    "cache_bytes_bf16": anatomy_costs.cache_memory(cache, context)["bf16"],
                    "training_bytes": training.total,
                }
            )
    return rows, _table(rows, config)


def _table(rows: list[dict[str, Any]], config: InfoConfig) -> Iterator[str]:
    """Exact counts and three sorts of memory, or as much of it as the terminal holds."""
    exact, short = list(_table_lines(rows, config, is_wide=True)), _table_lines(rows, config, is_wide=False)
    yield from exact if max(map(len, exact)) <= columns.width() else short


def _table_lines(rows: list[dict[str, Any]], config: InfoConfig, is_wide: bool) -> Iterator[str]:
    header = ["preset", "parameters" if is_wide else "size", "layers", "heads", "d_model", "context", "vocab", "FLOPs"]
    header += ["weights", "cache", "training"] if is_wide else ["weights"]
    cells = []
    for row in rows:
        heads = f"{row['n_heads']}" + (f"/{row['n_kv_heads']}" if row["n_kv_heads"] != row["n_heads"] else "")
        parameters = f"{row['parameters']:,}" if is_wide else columns.count(row["parameters"])
        line = [row["name"], parameters, str(row["n_layers"]), heads, str(row["d_model"]), str(row["context_length"])]
        line += [str(row["vocab_size"]), columns.flops(row["flops_per_token"]), memory(row["weights_bytes_bf16"])]
        line += [memory(row["cache_bytes_bf16"]), memory(row["training_bytes"])] if is_wide else []
        cells.append(line)
    first, *lines = columns.table([header, *cells], left=(0,), gap=2 if is_wide else 1)
    yield first
    for row, before, line in zip(rows, [None, *rows], lines, strict=False):
        if before is None or row["family"] != before["family"]:
            yield ""
        yield line
    yield ""
    yield "heads     of queries / of keys and values"
    yield "FLOPs     of one token's forward pass, at the end of its context"
    yield "weights   in bf16"
    if is_wide:
        yield "cache     of one sequence as long as the context, in bf16"
        yield f"training  in fp32 with AdamW, on {config.micro_batch_size} × context, of at most {TRAINED_CONTEXT:,}"
    yield ""
    yield "groundup model info NAME       all that can be counted of one"
    yield "groundup model explain NAME    what it is made of"
