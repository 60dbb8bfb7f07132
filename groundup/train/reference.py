"""A recipe's own curve, to hold a run against: comment lines of its TOML file, (tokens seen, training loss).

    # reference: 1_000_000 tokens, loss 4.61
    # reference: 10_000_000 tokens, loss 3.42

Comments, because a table would be settings. A run is compared where it has seen as many tokens, block by block.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.train.probes import Finding
from groundup.train.symptoms import Block, Curve

Reference = Sequence[tuple[float, float]]

LINE = re.compile(r"^#\s*reference:\s*([\d_]+) tokens, loss (\d+(?:\.\d+)?)\s*$", re.MULTILINE)
MORE = 1.05
"""A loss above this many times the reference is clearly above: seeds and machines differ by far less."""


def read(toml: str) -> Reference:
    """The points of a recipe, fewest tokens first; none if it has no such lines.

    >>> read("# reference: 2_000 tokens, loss 3.5")
    [(2000.0, 3.5)]
    """
    return sorted((float(tokens.replace("_", "")), float(loss)) for tokens, loss in LINE.findall(toml))


def of_origins(origins: Mapping[str, str]) -> Reference:
    """The reference of the file that a configuration came from, as `config.origins_of` tells it."""
    for origin in origins.values():
        file = re.fullmatch(r"(.+\.toml)(:\d+)?", origin)
        if file and Path(file[1]).is_file():
            return read(Path(file[1]).read_text(encoding="utf-8"))
    return ()


def compare_with(reference: Reference, rows: Iterable[Mapping[str, Any]]) -> Finding | None:
    """Do the rows of metrics.jsonl end clearly above the reference?"""
    curve = Curve()
    for row in rows:
        if row.get("train_loss") is not None and row.get("tokens") is not None:
            curve.add(row["step"], row["train_loss"], row.get("grad_norm") or 0.0, None, row["tokens"])
    return above_reference(reference, curve.blocks)


def above_reference(reference: Reference, blocks: Sequence[Block]) -> Finding | None:
    """Do the last two blocks both lie clearly above the reference at as many tokens?"""
    expected = [_at(reference, block.tokens) for block in blocks[-2:]]
    pairs = list(zip(blocks[-2:], expected, strict=True))
    if len(pairs) < 2 or any(loss is None or block.loss <= MORE * loss for block, loss in pairs):
        return None
    last = blocks[-1]
    return Finding(
        "above_reference",
        f"after {last.tokens:,.0f} tokens the loss is {last.loss:.3f}, the recipe's own was {expected[-1]:.3f}",
        "look at what differs from the recipe: config.toml says where each value came from",
    )


def _at(reference: Reference, tokens: float) -> float | None:
    """The reference's loss at a number of tokens, on a straight line over their logarithm; None outside of it."""
    for (fewer, before), (more, after) in zip(reference, reference[1:], strict=False):
        if 0 < fewer <= tokens <= more:
            share = math.log(tokens / fewer) / math.log(more / fewer)
            return before + share * (after - before)
    return None
