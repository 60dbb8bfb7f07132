"""`groundup runs list`: every run of a folder in a table. (The file's name leaves `list` to Python.)"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from groundup.commands.runs import summary
from groundup.errors import UsageError

DEPTH = 3  # runs/demo/pretrain is a run inside a run
NOT_RUNS = ("checkpoints", "plots", "data", "tokenizer", "corpus")


@dataclass(frozen=True)
class ListConfig:
    """What `groundup runs list` can be told."""

    root: str = "runs"
    """folder whose runs are listed"""
    json: bool = False
    """a JSON array on stdout"""
    quiet: bool = False
    """no remarks"""


def list_runs(config: ListConfig) -> None:
    """List the runs of a folder: state, steps, losses, size, age."""
    root = Path(config.root)
    if not root.is_dir():
        raise UsageError("there is no such folder of runs", where=str(root), hint="groundup demo makes the first run")
    found = [summary.of(path, root) for path in find(root)]
    if config.json:
        print(orjson.dumps(found).decode())
    elif found:
        print(_table(found))
    elif not config.quiet:
        print(f"there are no runs in {root} yet; groundup demo makes the first", file=sys.stderr)


def find(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Every run folder below, parents before children."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in NOT_RUNS and not path.name.startswith("."):
            if (path / "run.json").is_file():
                yield path
            if depth > 1:
                yield from find(path, depth - 1)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Columns as wide as their content: the same on a screen and in a pipe."""
    from rich.cells import cell_len

    header = ("name", "verb", "state", "steps", "train loss", "val loss", "bits/byte", "size", "changed")
    cells = [header, *(_cells(row) for row in rows)]
    widths = [max(cell_len(line[i]) for line in cells) for i in range(len(header))]
    is_number = [name in ("steps", "train loss", "val loss", "bits/byte", "size") for name in header]
    lines = []
    for line in cells:
        padded = [
            " " * (width - cell_len(cell)) + cell if right else cell + " " * (width - cell_len(cell))
            for cell, width, right in zip(line, widths, is_number, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    from groundup.train.watch import quantity

    return (
        row["name"],
        row.get("verb", ""),
        row["state"],
        f"{row['step']:,}" if "step" in row else "",
        summary.loss(row.get("train_loss")),
        summary.loss(row.get("val_loss")),
        summary.loss(row.get("val_bits_per_byte")),
        quantity(row["bytes"], "B"),
        summary.ago(row["seconds_since_change"]),
    )
