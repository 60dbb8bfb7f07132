"""The run card, `card.json`: what a run was made from and what came of it, in one file that can be handed on.

    config        every value, as it was resolved      config_hash   over those that change what is computed
    tokenizer     its hash                             data          hash over the shards' bytes, counts, sources
    code          groundup's version and a hash of its source        versions, machine
    seeds         of weights, data order and dropout   started_from  the model it went on from, with its weights' hash
    tokens        seen, per parameter, and the rule of thumb to hold that against
    curves        the loss of every step and of every validation     results       where they ended
    budget        for a run of `minutes`: how its clock was turned into steps

`of` reads all of it from a run folder, also of a run that still works; `groundup runs diff` compares two cards and
`groundup runs reproduce` does the run of a card again. Needs no torch.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import xxhash

from groundup import artifact
from groundup.errors import ArtefactError, UsageError
from groundup.train import run_folder, tables

FILE = "card.json"
FORMAT, VERSION = "groundup run card", 1
RULE_OF_THUMB = 20  # tokens per parameter, Hoffmann et al. 2022, arXiv:2203.15556
MOST_LOSSES = 100_000  # a longer run keeps every second, fifth, hundredth ... loss
PACKAGE = Path(__file__).parent.parent

Card = dict[str, Any]


def write(run_dir: Path | str) -> Path:
    """Write card.json into the run folder and return its path; at the end of a run, or at any time before."""
    path = Path(run_dir) / FILE
    artifact.write_file(path, orjson.dumps(of(run_dir), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def read(path: Path | str) -> Card:
    """A card.json, or the card of a run folder: the one that lies there, else made from its files.

    Raises UsageError where there is neither, ArtefactError for a file that is no card or from a newer groundup.
    """
    path = Path(path)
    if path.is_dir() and not (path / FILE).is_file():
        return of(path)
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise UsageError("there is no run card", where=str(path), hint="name a run folder, or the card.json in one")
    card = artifact.read_json(file)
    if not isinstance(card, dict) or card.get("format") != FORMAT or not isinstance(card.get("version"), int):
        raise ArtefactError("this is no run card", where=str(file), hint="name a run folder, or the card.json in one")
    if card["version"] > VERSION:
        raise ArtefactError(f"the card is of version {card['version']}, this groundup reads {VERSION}", where=str(file))
    kinds = {"config": dict, "curves": dict, "facts": dict, "versions": dict, "machine": dict, "results": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(card.get(name), kind)]
    wrong += [name for name in ("train_loss", "val_loss") if not _is_curve(card, name)]
    if wrong:
        raise ArtefactError(f"the run card is damaged: {', '.join(wrong)}", where=str(file))
    return card


def of(run_dir: Path | str) -> Card:
    """The card of what a run folder holds now. Raises UsageError for a folder without a run."""
    run_dir = Path(run_dir)
    if not (run_dir / "run.json").is_file():
        raise UsageError("there is no run", where=str(run_dir), hint="groundup runs list shows them")
    run = artifact.read_json(run_dir / "run.json")
    facts: dict[str, Any] = run.get("facts", {})
    config = _config(run_dir)
    curves, results = _curves_and_results(run_dir)
    n_tokens, n_parameters = results.get("tokens"), facts.get("n_parameters")
    budget = run_dir / "budget.json"
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": run_dir.name,
        "verb": run.get("verb"),
        "state": run_folder.read_state(run_dir),
        "started": run.get("started"),
        "ended": run.get("ended"),
        "command": run.get("command"),
        "working_folder": os.getcwd(),
        "config": config,
        "config_hash": run.get("config_hash"),
        "tokenizer": facts.get("tokenizer"),
        "data": _data(run_dir, config, facts),
        "code": facts.get("code") or {"groundup": run.get("versions", {}).get("groundup")},
        "versions": run.get("versions", {}),
        "machine": run.get("machine", {}),
        "seeds": {name: facts[name] for name in facts if name.endswith("seed")},
        "started_from": _parent(facts.get("parent")),
        "n_parameters": n_parameters,
        "tokens": n_tokens,
        "tokens_per_parameter": round(n_tokens / n_parameters, 3) if n_tokens and n_parameters else None,
        "rule_of_thumb": RULE_OF_THUMB,
        "facts": facts,
        "budget": artifact.read_json(budget) if budget.is_file() else None,
        "results": results,
        "curves": curves,
    }


def losses(card: Card, column: str) -> dict[int, float | None]:
    """`train_loss` or `val_loss` by step, exactly as it was computed; None where it was not a number."""
    steps, values = card["curves"][column]["steps"], card["curves"][column]["values"]
    if isinstance(steps, Mapping):
        steps = range(steps["first"], steps["first"] + steps["every"] * len(values), steps["every"])
    return dict(zip(steps, values, strict=True))


@functools.cache
def code() -> dict[str, str]:
    """groundup's version, and 32 hex digits over its source files: edits that no version tells of change them.

    A stage keeps it among the facts of its run when it starts; later the files may be others.
    """
    files = sorted(PACKAGE.rglob("*.py"))
    source = xxhash.xxh3_128()
    for file in files:
        source.update(f"{file.relative_to(PACKAGE).as_posix()}\0".encode())
        source.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return {"groundup": run_folder.versions().get("groundup", "unknown"), "source_hash": source.hexdigest()}


def data_hash(manifest: Mapping[str, Any]) -> str:
    """32 hex digits over ids, targets and document offsets of token data; not over where they came from."""
    files = {name: facts.get("xxh3_128") for name, facts in manifest["files"].items() if name.endswith(".bin")}
    return xxhash.xxh3_128_hexdigest(orjson.dumps(files, option=orjson.OPT_SORT_KEYS))


def _config(run_dir: Path) -> dict[str, Any]:
    file = run_dir / "config.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError("config.toml is missing", where=str(run_dir)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"not valid TOML: {error}", where=str(file)) from error


def _data(run_dir: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Card:
    """Of the shards in the run folder, or of those it was pointed to; what an earlier card said if they are gone."""
    named = config.get("data")
    named = named[0] if isinstance(named, list) and named else named
    folders = [run_dir / "data", *([Path(named)] if isinstance(named, str) and named else [])]
    for folder in folders:
        with contextlib.suppress(ArtefactError, KeyError, TypeError, AttributeError):
            manifest = artifact.read_json(folder / artifact.MANIFEST)
            hashed = data_hash(manifest)
            return {"hash": hashed, "counts": manifest.get("counts"), "sources": manifest.get("sources")}
    with contextlib.suppress(ArtefactError, AttributeError):
        if known := artifact.read_json(run_dir / FILE).get("data"):
            return known
    return {"hash": None, "counts": facts.get("data"), "sources": None}


def _parent(parent: Any) -> Card | None:
    """The model that was gone on from, and the checksum of its weights where its manifest tells one."""
    if not parent:
        return None
    path = Path(parent)
    for pointer in ("best", "latest"):
        if (path / pointer).is_file():
            path = path / (path / pointer).read_text(encoding="utf-8").strip()
            break
    weights = None
    with contextlib.suppress(ArtefactError, AttributeError):
        files = artifact.read_json(path / artifact.MANIFEST).get("files", {})
        weights = files.get("model.safetensors", {}).get("xxh3_128")
    return {"path": str(parent), "weights_hash": weights}


def _curves_and_results(run_dir: Path) -> tuple[Card, Card]:
    """(losses by step, the last value of every column and the best validation), in one pass over the metrics."""
    points: dict[str, tuple[list[int], list[float | None]]] = {"train_loss": ([], []), "val_loss": ([], [])}
    results: Card = {}
    best = math.inf
    for row in tables.read(run_dir / "metrics.jsonl"):
        results |= row
        for column, (steps, values) in points.items():
            if column in row:
                steps.append(row["step"])
                values.append(row[column])
        if (row.get("val_loss") or math.inf) < best:
            best = row["val_loss"]
            results |= {"best_val_loss": best, "best_step": row["step"]}
            if row.get("val_bits_per_byte") is not None:
                results["best_val_bits_per_byte"] = row["val_bits_per_byte"]
    return {column: _thinned(*curve) for column, curve in points.items()}, results


def _thinned(steps: list[int], values: list[float | None]) -> Card:
    """{"steps": ..., "values": ...}; steps at equal distances as {"first", "every"}, which is shorter."""
    stride = next(n for n in (1, 2, 5, *(10**k for k in range(1, 20))) if len(steps) <= MOST_LOSSES * n)
    steps, values = steps[::stride], values[::stride]
    every = steps[1] - steps[0] if len(steps) > 1 else 1
    is_even = bool(steps) and steps == list(range(steps[0], steps[0] + every * len(steps), every or 1))
    return {"steps": {"first": steps[0], "every": every} if is_even else steps, "values": values}


def _is_curve(card: Card, name: str) -> bool:
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        return all(value is None or isinstance(value, int | float) for value in losses(card, name).values())
    return False
