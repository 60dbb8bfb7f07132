"""`groundup runs show`: one run for people."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from groundup import artifact
from groundup.commands.runs import summary
from groundup.errors import UsageError


@dataclass(frozen=True)
class ShowConfig:
    """What `groundup runs show` can be told."""

    run_dir: str = field(default="", metadata={"positional": True})
    """a run folder"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no remarks"""


def show(config: ShowConfig) -> None:
    """Show one run: what it is, how far it came, its losses, what it wrote."""
    from groundup.train import tables

    run_dir = Path(config.run_dir)
    if not config.run_dir or not (run_dir / "run.json").is_file():
        what = "there is no run" if config.run_dir else "no run was named"
        raise UsageError(what, where=config.run_dir or None, hint="groundup runs list shows them")
    about = summary.of(run_dir, run_dir.parent) | {"run": artifact.read_json(run_dir / "run.json")}
    about["evaluations"] = [row for row in tables.read(run_dir / "metrics.jsonl") if row.get("val_loss") is not None]
    about["samples"] = list(tables.read(run_dir / "samples.jsonl"))[-3:]
    about["checkpoints"] = [str(path) for path in sorted((run_dir / "checkpoints").glob("step-*"))]
    if config.json:
        print(orjson.dumps(about).decode())
    else:
        print("\n".join(_lines(about)))


def _lines(about: dict[str, Any]) -> Iterator[str]:
    """A run for people, as wide as the terminal."""
    from groundup.train.watch import duration, quantity

    run = about["run"]
    yield f"{about['run_dir']}: {about.get('verb')}, {about['state']}"
    yield f"  started    {run.get('started', '')}, last change {summary.ago(about['seconds_since_change'])}"
    yield f"  command    {run.get('command', '')}"
    yield "  versions   " + ", ".join(f"{name} {version}" for name, version in run.get("versions", {}).items())
    yield f"  size       {quantity(about['bytes'], 'B')}, {len(about['checkpoints'])} checkpoints"
    if "step" in about:
        took = f" in {duration(about['seconds'])}" if about.get("seconds") else ""
        yield f"  trained    {about['step']:,} steps, {quantity(about.get('tokens') or 0)} tokens{took}"
    for row in about["evaluations"]:
        bits = f"  {summary.loss(row.get('val_bits_per_byte'))} bits per byte" if row.get("val_bits_per_byte") else ""
        yield f"  step {row['step']:>9,}  val loss {summary.loss(row['val_loss'])}{bits}"
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
