"""What `groundup plan` says of a run, beside what then happens: seconds, memory and disk of several configurations.

    python benchmarks/plan.py                     all of them, about five minutes on two cores
    python benchmarks/plan.py --only small gpt2   some
    python benchmarks/plan.py --write             the table into docs/plan.md, and a section of BENCHMARK.md

Each configuration is planned by the command, then run by `groundup pretrain` in a process of its own, for about twenty
seconds. `ours` is what was foreseen, `peer` what was measured; a row is reached if they are as near as the goal says.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness import Row

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "plan.md"
BEGIN, END = "<!-- measured: begin, written by benchmarks/plan.py -->\n", "<!-- measured: end -->\n"
SECONDS = 20.0
GOALS = {"time": 0.25, "memory": 0.10, "disk": 0.10}


@dataclass(frozen=True)
class Case:
    """A configuration, in flags of `groundup pretrain`."""

    name: str
    flags: str


CASES = (
    Case("nano", "--model llama --size nano --batch-size 32 --context-length 256"),
    Case("small", "--model llama --size small --batch-size 16 --micro-batch-size 8 --context-length 256"),
    Case("gpt2", "--model gpt2 --size nano --batch-size 64 --context-length 128 --optimizer adamw --precision fp32"),
    Case("qwen3", "--model qwen3 --size mini --batch-size 8 --context-length 256 --optimizer sgd --precision fp32"),
    Case("fast", "--model fast --size micro --batch-size 24 --context-length 256"),
    Case("checkpointed", "--model llama --size mini --batch-size 16 --context-length 512 --activation-checkpointing"),
    Case("averaged", "--model gpt2 --size mini --batch-size 8 --context-length 256 --ema-decay 0.99"),
)


def rows_of(case: Case, data: Path) -> list[Row]:
    """Foresee, run, compare."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [str(data), *case.flags.split(), "--run-dir", str(Path(folder, "run")), "--prompt", "", "--keep", "1"]
        try:
            first = json.loads(groundup("plan", *flags, "--n-steps", "100", "--no-trial", "--json"))
            n_steps = max(4, min(2000, round(SECONDS / first["seconds"]["step"])))
            flags += ["--n-steps", str(n_steps), "--warmup-steps", "1"]
            foreseen = json.loads(groundup("plan", *flags, "--json"))
            happened = harness.in_child("plan:train", flags)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            return [Row(case.name, "s", failed=str(error)[-200:])]
    by_phase = foreseen["seconds"]["by_phase"]
    figures = {
        "time": (by_phase["training"] + by_phase["evaluations"], happened["seconds"], "seconds"),
        "memory": (foreseen["memory"]["total"] / 1e6, happened["peak"] / 1e6, "MB held"),
        "disk": (foreseen["disk"]["total"] / 1e6, happened["disk"] / 1e6, "MB written"),
    }
    return [
        Row(f"{case.name}, {what}", unit, ours=ours, peer=peer, peer_name="measured", note=verdict(what, ours, peer))
        for what, (ours, peer, unit) in figures.items()
    ]


def verdict(what: str, foreseen: float, measured: float) -> str:
    """ "+3 %, within 25 %" """
    off = foreseen / measured - 1
    goal = GOALS[what]
    return f"{off:+.0%}, {'within' if abs(off) <= goal else 'beyond'} ±{goal:.0%}"


def groundup(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "groundup", *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip() or f"groundup {arguments[0]} ended with {done.returncode}")
    return done.stdout


def train(flags: list[str]) -> dict[str, Any]:
    """In a child process: the run itself, its seconds, the most memory it held, the bytes it left."""
    from groundup import cli
    from groundup.insight import trial
    from groundup.train import tables

    if cli.main(["pretrain", *flags, "--quiet"]):
        raise RuntimeError("groundup pretrain failed")
    run_dir = Path(flags[flags.index("--run-dir") + 1])
    seconds = [row["seconds"] for row in tables.read(run_dir / "metrics.jsonl") if "seconds" in row]
    n_bytes = sum(file.stat().st_size for file in run_dir.rglob("*") if file.is_file())
    return {"seconds": seconds[-1], "peak": trial.peak_bytes(), "disk": n_bytes}


def prepared(folder: Path) -> Path:
    """Token data of the built-in stories, with a vocabulary of 2048."""
    text = folder / "stories.txt"
    from groundup.text import stories

    text.write_text("\n\n".join(document.text for document in stories.documents(0, 4_000_000)), encoding="utf-8")
    groundup("tokenizer", "train", str(text), "--vocab-size", "2048", "--out", str(folder / "tokenizer"), "--quiet")
    groundup(
        "data", "prepare", str(text), "--tokenizer", str(folder / "tokenizer"), "--out", str(folder / "data"), "--quiet"
    )
    return folder / "data"


def write_table(rows: list[Row]) -> None:
    """Put the table between the marks of docs/plan.md."""
    lines = ["| configuration | | foreseen | measured | |", "|---|---|---:|---:|---|"]
    for row in rows:
        name, _, what = row.row.partition(", ")
        if row.failed or row.ours is None or row.peer is None:
            lines.append(f"| {name} | | | | {row.failed} |")
            continue
        unit = {"seconds": "s", "MB held": "MB", "MB written": "MB"}[row.unit]
        ours, peer = (f"{harness.number(n)} {unit}" for n in (row.ours, row.peer))
        lines.append(f"| {name} | {what} | {ours} | {peer} | {row.note} |")
    flags = "\n".join(f"- {case.name}: `{case.flags}`" for case in CASES)
    text = "\n".join(lines) + f"\n\n{flags}\n\nMeasured on {harness.machine()}.\n"
    content = PAGE.read_text(encoding="utf-8")
    before, _, rest = content.partition(BEGIN)
    PAGE.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one object a row instead of a table")
    parser.add_argument("--write", action="store_true", help="the tables into docs/plan.md and BENCHMARK.md")
    names = [case.name for case in CASES]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these configurations")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(Path(folder))
        for case in CASES:
            if case.name in options.only:
                print(f"{case.name} ...", file=sys.stderr)
                rows += rows_of(case, data)
    code = harness.report(rows, options.json)
    if options.write:
        write_table(rows)
        harness.write_section("plan", harness.section("Plans: foreseen and measured", rows, ("torch",)))
    return code


if __name__ == "__main__":
    sys.exit(main())
