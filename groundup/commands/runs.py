"""List the runs of a folder, or show one."""

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from groundup import artifact
from groundup.errors import ArtefactError, UsageError

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


@dataclass(frozen=True)
class ShowConfig:
    """What `groundup runs show` can be told."""

    run_dir: str = field(default="", metadata={"positional": True})
    """a run folder"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no remarks"""


def list_runs(config: ListConfig) -> None:
    """List the runs of a folder: state, steps, losses, size, age."""
    root = Path(config.root)
    if not root.is_dir():
        raise UsageError("there is no such folder of runs", where=str(root), hint="groundup demo makes the first run")
    found = [_summary(path, root) for path in _find(root)]
    if config.json:
        print(orjson.dumps(found).decode())
    elif found:
        print(_table(found))
    elif not config.quiet:
        print(f"there are no runs in {root} yet; groundup demo makes the first", file=sys.stderr)


def show(config: ShowConfig) -> None:
    """Show one run: what it is, how far it came, its losses, what it wrote."""
    from groundup.train import tables

    run_dir = Path(config.run_dir)
    if not config.run_dir or not (run_dir / "run.json").is_file():
        what = "there is no run" if config.run_dir else "no run was named"
        raise UsageError(what, where=config.run_dir or None, hint="groundup runs list shows them")
    about = _summary(run_dir, run_dir.parent) | {"run": artifact.read_json(run_dir / "run.json")}
    about["evaluations"] = _evaluations(run_dir)
    about["samples"] = list(tables.read(run_dir / "samples.jsonl"))[-3:]
    about["checkpoints"] = [str(path) for path in sorted((run_dir / "checkpoints").glob("step-*"))]
    if config.json:
        print(orjson.dumps(about).decode())
    else:
        print("\n".join(_lines(about)))


VERBS = {"list": list_runs, "show": show}


def _find(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Every run folder below, parents before children."""
    for path in sorted(root.iterdir()):
        if path.is_dir() and path.name not in NOT_RUNS and not path.name.startswith("."):
            if (path / "run.json").is_file():
                yield path
            if depth > 1:
                yield from _find(path, depth - 1)


def _summary(path: Path, root: Path) -> dict[str, Any]:
    """One row of the list. A damaged run is listed as such: it must not hide the others."""
    from groundup.train import run_folder, tables

    row: dict[str, Any] = {"name": path.relative_to(root).as_posix(), "run_dir": str(path)}
    try:
        run = artifact.read_json(path / "run.json")
        row |= {"verb": run.get("verb", ""), "state": run_folder.read_state(path), "started": run.get("started")}
        for metrics in tables.read(path / "metrics.jsonl"):
            row |= {key: value for key, value in metrics.items() if key in _METRICS}
    except ArtefactError as error:
        row |= {"state": "damaged", "error": str(error)}
    files = [file for file in path.rglob("*") if file.is_file()]
    row["bytes"] = sum(file.stat().st_size for file in files)
    row["seconds_since_change"] = round(time.time() - max(file.stat().st_mtime for file in files))
    return row


_METRICS = ("step", "train_loss", "val_loss", "val_bits_per_byte", "tokens", "seconds")


def _evaluations(run_dir: Path) -> list[dict[str, Any]]:
    from groundup.train import tables

    return [row for row in tables.read(run_dir / "metrics.jsonl") if row.get("val_loss") is not None]


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
        _loss(row.get("train_loss")),
        _loss(row.get("val_loss")),
        _loss(row.get("val_bits_per_byte")),
        quantity(row["bytes"], "B"),
        _ago(row["seconds_since_change"]),
    )


def _lines(about: dict[str, Any]) -> Iterator[str]:
    """A run for people, as wide as the terminal."""
    from groundup.train.watch import duration, quantity

    run = about["run"]
    yield f"{about['run_dir']}: {about.get('verb')}, {about['state']}"
    yield f"  started    {run.get('started', '')}, last change {_ago(about['seconds_since_change'])}"
    yield f"  command    {run.get('command', '')}"
    yield "  versions   " + ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
    yield f"  size       {quantity(about['bytes'], 'B')}, {len(about['checkpoints'])} checkpoints"
    if "step" in about:
        took = f" in {duration(about['seconds'])}" if about.get("seconds") else ""
        yield f"  trained    {about['step']:,} steps, {quantity(about.get('tokens') or 0)} tokens{took}"
    for row in about["evaluations"]:
        bits = f"  {_loss(row.get('val_bits_per_byte'))} bits per byte" if row.get("val_bits_per_byte") else ""
        yield f"  step {row['step']:>9,}  val loss {_loss(row['val_loss'])}{bits}"
    width = shutil.get_terminal_size().columns
    for sample in about["samples"][-1:]:
        yield f"\nsample at step {sample['step']:,}, after {sample['prompt']!r}:"
        yield _wrapped(sample["text"], width)
    if about.get("error"):
        yield f"  damaged    {about['error']}"


def _wrapped(text: str, width: int) -> str:
    import textwrap

    printable = "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)
    return "\n".join(textwrap.fill(line, max(width, 20)) for line in printable.splitlines())


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"
