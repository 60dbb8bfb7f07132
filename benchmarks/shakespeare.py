"""How good a model of characters gets in two and in five minutes: recipes/tinyshakespeare-*.toml, as people run them.

    python benchmarks/shakespeare.py [--json] [--write] [--seeds 0 1 2] [--only 2min] [--data tinyshakespeare.txt.xz]

The text is divided where nanoGPT divides it, after 90 % of its characters, and all of the last tenth is predicted. Each
run is a fresh process of the command line, with nothing prepared: tokenizer, shards, measuring the machine, training,
validation, saving and the report are all in its wall time, taken from outside.

nanoGPT is not run beside it: it cannot be installed from a package index. Its rows quote its README, which says a loss
in nats on random rows of the same last tenth: 1.88 for its command for CPUs, in about 3 minutes on a MacBook, and
1.4697 on an A100 in about 3 minutes.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpus import SHARED
from harness import ROOT, Row, report, section, write_section

from groundup.models.fast import NOT_ELSEWHERE
from groundup.text.archives import opened

TEXT = SHARED / "pretrain" / "en" / "tinyshakespeare.txt.xz"
N_CHARACTERS, N_TRAIN = 1_115_394, 1_003_854

GOALS = {"2min": (120.0, 2.25), "5min": (300.0, 2.05)}
"""Of each recipe: seconds of wall time, bits per byte."""
PUBLISHED = {"nanoGPT's command for CPUs": 1.88, "nanoGPT on an A100": 1.4697}
"""Loss in nats per character, from nanoGPT's README."""


def prepare(text: Path, folder: Path) -> None:
    """The two files that the recipes name, below `folder`. ValueError if it is another text."""
    with opened(text) as file:
        characters = file.read()
    if len(characters) != N_CHARACTERS or not characters.isascii():
        raise ValueError(f"{text.name} has {len(characters):,} bytes; tinyshakespeare has {N_CHARACTERS:,}, in ASCII")
    place = folder / "data" / "tinyshakespeare"
    place.mkdir(parents=True)
    (place / "train.txt").write_bytes(characters[:N_TRAIN])
    (place / "val.txt").write_bytes(characters[N_TRAIN:])


def recipe(name: str) -> Path:
    return ROOT / "recipes" / f"tinyshakespeare-{name}.toml"


def command(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """What `groundup ... --json` says, and the `wall` seconds it took. RuntimeError with what it complained about."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "groundup", *arguments, "--json"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1]) | {"wall": wall}


def run(name: str, seed: int, folder: Path, options: Sequence[str] = ()) -> dict[str, Any]:
    """One training of a recipe, and its model once more on rows as short as those it was trained on."""
    settings = tomllib.loads(recipe(name).read_text(encoding="utf-8"))
    run_dir = f"runs/{name}-{seed}"
    arguments = ["pretrain", "--config", str(recipe(name)), "--train.seed", str(seed), "--run-dir", run_dir, *options]
    outcome = command(arguments, folder)
    counts = json.loads((folder / run_dir / "data" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    if counts["train"]["bytes"] != N_TRAIN or counts["val"]["bytes"] != N_CHARACTERS - N_TRAIN or settings["val_rows"]:
        raise RuntimeError("the run did not learn the first nine tenths and predict all of the last")
    short = ["--context-length", str(settings["context_length"])]
    again = command(["evaluate", run_dir, "--data", "data/tinyshakespeare/val.txt", *short], folder)
    return outcome | {"short_rows": again["bits_per_byte"], "context_length": settings["context_length"]}


def rows_of(name: str, outcomes: Sequence[dict[str, Any]]) -> list[Row]:
    """The mean over the seeds beside its goal, and the longest wall time beside its own."""
    seconds, goal = GOALS[name]
    bits = [outcome["val_bits_per_byte"] for outcome in outcomes]
    short = [outcome["short_rows"] for outcome in outcomes]
    walls = [outcome["wall"] for outcome in outcomes]
    each = ", ".join(f"{value:.3f}" for value in bits)
    steps = ", ".join(str(outcome["n_steps"]) for outcome in outcomes)
    n, length = len(outcomes), outcomes[0]["context_length"]
    seeds = f"mean of {n} seeds" if n > 1 else "one seed"
    return [
        Row(
            f"tinyshakespeare, {seconds:g} s", "bits per byte", ours=mean(bits), limit=goal,
            note=f"{seeds}: {each}; validated in rows of {length}: {mean(short):.3f}", times={"groundup": bits},
        ),
        Row(
            f"tinyshakespeare, {seconds:g} s: wall time", "s", ours=max(walls), limit=seconds,
            note=f"the longest; {steps} steps", times={"groundup": walls},
        ),
    ]  # fmt: skip


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def published() -> list[Row]:
    """nanoGPT's own figures, which nobody measured here."""
    return [
        Row(f"tinyshakespeare, {name}", "bits per byte", peer=nats / math.log(2), peer_name="published")
        for name, nats in PUBLISHED.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into BENCHMARK.md")
    parser.add_argument("--only", nargs="+", choices=tuple(GOALS), default=list(GOALS), help="recipes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--data", type=Path, default=TEXT, metavar="FILE", help="the text, packed or not")
    parser.add_argument("--option", action="append", default=[], metavar="--FLAG=VALUE", help="for groundup pretrain")
    options = parser.parse_args(arguments)
    if not options.data.is_file():
        parser.error(f"{options.data} is missing; --data names the text")

    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(options.data, Path(folder))
        for name in options.only:
            outcomes = []
            try:
                for seed in options.seeds:
                    outcomes.append(run(name, seed, Path(folder), options.option))
                    said = f"{outcomes[-1]['val_bits_per_byte']:.4f} bits per byte in {outcomes[-1]['wall']:.1f} s"
                    print(f"{name}, seed {seed}: {said}", file=sys.stderr)
                rows += rows_of(name, outcomes)
            except RuntimeError as error:
                rows.append(Row(f"tinyshakespeare, {GOALS[name][0]:g} s", "bits per byte", failed=str(error)))
    rows += published()
    if options.write:
        facts = [
            "Everything is in the wall time: process start, tokenizer, shards, validation, report. Nine tenths of the "
            f"characters are learned, all {N_CHARACTERS - N_TRAIN:,} of the rest predicted, each once",
            f"The model cannot be taken to other programs: {NOT_ELSEWHERE}",
            "nanoGPT's figures are those of its README (1.88 and 1.4697 nats); nobody measured them here",
        ]
        write_section("shakespeare", section("tinyshakespeare by characters", rows, ["torch"], facts))
    return report(rows, options.json)


if __name__ == "__main__":
    raise SystemExit(main())
