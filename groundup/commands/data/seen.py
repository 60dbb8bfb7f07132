"""`groundup data batch` and `groundup data where`: what a run has learned from, and when."""

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup import artifact
from groundup.errors import DataError, UsageError

if TYPE_CHECKING:
    from groundup.data.batches import Packed, Windows

LONGEST_TEXT = 200
"""Characters of a span that are shown to people."""


@dataclass(frozen=True)
class BatchConfig:
    run_dir: str = field(default="", metadata={"positional": True})
    """a run of pretrain or sft"""
    step: int = 1
    """number of the step, as metrics.jsonl counts them: from 1"""
    text: bool = False
    """show the text of each span too"""
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class WhereConfig:
    run_dir: str = field(default="", metadata={"positional": True})
    """a run of pretrain or sft"""
    document: int = 0
    """number of a document of the training split, from 0; of a conversation in a run of sft"""
    json: bool = False
    quiet: bool = False


def batch(config: BatchConfig) -> None:
    """List the documents, and the stretches of them, that a step of a run was trained on."""
    import orjson

    from groundup.data import ledger
    from groundup.tokenizer.protocol import Tokenizer

    batches, data_dir, n_steps = batches_of(Path(config.run_dir), config.run_dir)
    if config.step < 1:
        raise UsageError(f"there is no step {config.step}: the first is 1", where="--step")
    rows: list[dict[str, Any]] = [asdict(span) for span in ledger.spans(batches, config.step - 1)]
    if config.text:
        tokenizer = Tokenizer.load(data_dir / "tokenizer")
        for row in rows:
            ids = batches.split.document(row["document"])[row["start"] : row["stop"]]
            row["text"] = tokenizer.decode(ids)
    if config.json:
        told = {"step": config.step, "epoch": batches.epoch(config.step - 1), "data": str(data_dir), "spans": rows}
        print(orjson.dumps(told).decode())
        return
    print("\n".join(_lines(rows)))
    if config.step > n_steps and not config.quiet:
        print(f"note: the run has made {n_steps:,} steps so far", file=sys.stderr)
    if not config.quiet:
        print("to train without one of them: groundup pretrain ... --ban DOCUMENT", file=sys.stderr)


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield "row  document       ids of it"
    for row in rows:
        shown = "".join(letter if letter.isprintable() else " " for letter in row.get("text", ""))[:LONGEST_TEXT]
        yield f"{row['row']:3}  {row['document']:8}  {row['start']:6} to {row['stop'] - 1:6}  {shown}".rstrip()


def where(config: WhereConfig) -> None:
    """List the steps and rows of a run in which a document was seen."""
    import orjson

    from groundup.data import ledger

    batches, data_dir, n_steps = batches_of(Path(config.run_dir), config.run_dir)
    places = list(ledger.places(batches, config.document, n_steps))
    if config.json:
        told = [{"step": place.step + 1, "row": place.row} for place in places]
        facts = {"document": config.document, "n_steps": n_steps, "data": str(data_dir), "places": told}
        print(orjson.dumps(facts).decode())
        return
    for place in places:
        print(f"step {place.step + 1:7,}  row {place.row:4}")
    if not config.quiet:
        n = len({place.step for place in places})
        print(f"document {config.document} was in {n:,} of {n_steps:,} steps", file=sys.stderr)


def batches_of(run_dir: Path, named: str) -> "tuple[Windows | Packed, Path, int]":
    """The training batches of a run as its config.toml says, the folder of their data, and the steps made so far."""
    from groundup.data.batches import Packed, Windows
    from groundup.data.shards import TokenData
    from groundup.train import tables

    if not named or not (run_dir / "run.json").is_file():
        what = "there is no run" if named else "no run was named"
        raise UsageError(what, where=named or None, hint="groundup runs list shows them")
    config = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8"))
    data_dir = _data_dir(run_dir, config)
    split, train = TokenData.open(data_dir).split("train"), config["train"]
    banned = frozenset(config.get("ban", ()))
    n_steps = max((row["step"] for row in tables.read(run_dir / "metrics.jsonl")), default=0)
    rows = (_context_length(run_dir, config), train["batch_size"], train["seed"])
    if split.is_target is not None:
        return Packed(split, *rows, shuffle=config.get("shuffle", True), banned=banned), data_dir, n_steps
    return Windows(split, *rows, sampler=config.get("sampler", "epoch"), banned=banned), data_dir, n_steps


def _data_dir(run_dir: Path, config: dict[str, Any]) -> Path:
    """The folder of token data that a run reads: the one it was pointed at, or the one it made."""
    named = config["data"]
    places = [run_dir / "data", *map(Path, [named] if isinstance(named, str) else named)]
    found = next((path for path in reversed(places) if (path / artifact.MANIFEST).is_file()), None)
    if found is None:
        hint = "call it from the folder where the run was started; after groundup data clean, train once more"
        raise DataError(f"the token data of the run is not there: {', '.join(map(str, places))}", hint=hint)
    return found


def _context_length(run_dir: Path, config: dict[str, Any]) -> int:
    """As configured; a tuning run of length 0 took the model's."""
    if config["context_length"]:
        return config["context_length"]
    from groundup.weights import checkpoint, contract

    return artifact.read_json(checkpoint.resolve(run_dir) / contract.FILE)["config"]["context_length"]
