"""`report.html`: everything a run folder knows on one page that opens anywhere, also without a network.

A page is a list of sections; a section whose files are not there is empty and leaves no gap. It reads what training
wrote and computes nothing that is not in the files. A demo folder is a page about its children (pretrain, sft) under
the demo's own summary and questions.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from groundup import artifact
from groundup.errors import ArtefactError, UsageError
from groundup.insight import answers, svg
from groundup.insight.page import details, keys, page, short, tiles
from groundup.train import curves, run_folder, tables
from groundup.train.card import RULE_OF_THUMB
from groundup.train.watch import duration, quantity

STAGES = ("pretrain", "sft")
SAMPLES_SHOWN = 24


def write(run_dir: Path | str) -> Path:
    """Write `report.html` into the run folder and return its path.

    Raises UsageError for a folder that holds no run, ArtefactError for damaged files.
    """
    run_dir = Path(run_dir)
    check_run(run_dir)
    path = run_dir / "report.html"
    artifact.write_file(path, page(f"{run_dir.name} - groundup", render(run_dir)))
    return path


def check_run(run_dir: Path) -> None:
    """Raise UsageError for a folder that holds no run."""
    if not is_run(run_dir):
        what = "there is no run in this folder" if run_dir.is_dir() else "there is no such run folder"
        raise UsageError(what, where=str(run_dir), hint="groundup runs list shows them")


def is_run(run_dir: Path) -> bool:
    """Has a training or a demo written here?"""
    return any((run_dir / name).is_file() for name in ("run.json", "metrics.jsonl", "demo.json"))


def render(run_dir: Path) -> str:
    """The body of the page, as HTML."""
    demo = _json(run_dir / "demo.json")
    children = [run_dir / stage for stage in STAGES if is_run(run_dir / stage)]
    runs = children or [run_dir]
    parts = [
        _head(run_dir),
        tiles(_numbers(demo, runs)),
        _spoken(demo),
        answers.render(list(tables.read(run_dir / "questions.jsonl"))),
        *(_training(path) for path in runs),
        _times(demo.get("seconds_by_phase") or {}),
        _origins([run_dir, *children]),
        _foot(run_dir, runs[-1]),
    ]
    return "\n".join(part for part in parts if part)


# --- top of the page ---


def _head(run_dir: Path) -> str:
    run = _json(run_dir / "run.json")
    state = run_folder.read_state(run_dir) if run else ""
    chip = f'<span class="state">{escape(state)}</span>' if state in ("interrupted", "stopped", "failed") else ""
    machine = run.get("machine", {})
    threads = f"{machine['n_threads']} threads" if machine.get("n_threads") else ""
    started = str(run.get("started", ""))[:16].replace("T", " ")
    said = [run.get("verb"), started, machine.get("gpu") or machine.get("cpu"), threads]
    return f'<h1>{escape(run_dir.name)}{chip}</h1><p class="dim">{escape(" · ".join(filter(None, said)))}</p>'


def _numbers(demo: Mapping[str, Any], runs: list[Path]) -> Iterator[tuple[str, str]]:
    if demo.get("accuracy") is not None:
        yield f"{demo['accuracy']:.1%}", f"of {demo.get('n_questions', 0):,} held-out questions right"
    first = _Training(runs[0])
    if first.best_bits_per_byte is not None:
        yield f"{first.best_bits_per_byte:.3f}", "bits per byte on held-out text"
    elif first.best_val_loss is not None:
        yield f"{first.best_val_loss:.3f}", "validation loss (nats per token)"
    if first.n_parameters:
        yield quantity(first.n_parameters), "parameters"
    if first.n_tokens:
        yield quantity(first.n_tokens), "tokens trained on"
    seconds = demo.get("seconds") or sum(_Training(path).seconds for path in runs)
    if seconds:
        yield duration(seconds), "from start to end" if demo else "of training"
    if demo.get("peak_memory_mb"):
        yield quantity(demo["peak_memory_mb"] * 1e6, "B"), "memory at most"


def _spoken(demo: Mapping[str, Any]) -> str:
    """A story and a dialogue to read."""
    story, dialogue = demo.get("story"), demo.get("dialogue") or []
    parts = []
    if story:
        parts.append(f"<h3>A text it wrote</h3><blockquote>{escape(short(story))}</blockquote>")
    if dialogue:
        turns = "".join(
            f'<div class="{_role(turn)}">{escape(short(str(turn.get("content", ""))))}</div>' for turn in dialogue
        )
        parts.append(f'<h3>A dialogue</h3><div class="chat">{turns}</div>')
    return "<h2>What it says</h2>" + "".join(parts) if parts else ""


def _role(turn: Mapping[str, Any]) -> str:
    return turn["role"] if turn.get("role") in ("user", "assistant", "system", "tool") else "assistant"


# --- a training ---


class _Training:
    """The numbers of one run folder that the page speaks of."""

    def __init__(self, path: Path):
        columns = ("train_loss", "val_loss", "val_bits_per_byte", "lr", "grad_norm", "tokens_per_second")
        columns = (*columns, "tokens", "seconds")
        self.path = path
        self.run = _json(path / "run.json")
        self.facts: dict[str, Any] = self.run.get("facts", {})
        self.curves = curves.read(path / "metrics.jsonl", columns)
        self.n_parameters: int = self.facts.get("n_parameters") or 0
        self.n_tokens = int(self._last("tokens"))
        self.seconds = self._last("seconds")
        self.n_steps = max((int(curve.steps[-1]) for curve in self.curves.values()), default=0)
        self.best_val_loss = self._best("val_loss")
        self.best_bits_per_byte = self._best("val_bits_per_byte")

    def _last(self, column: str) -> float:
        return float(self.curves[column].values[-1]) if column in self.curves else 0.0

    def _best(self, column: str) -> float | None:
        return float(self.curves[column].values.min()) if column in self.curves else None


def _training(path: Path) -> str:
    training = _Training(path)
    if not training.curves:
        return ""
    verb = str(training.run.get("verb", path.name))
    title = {"pretrain": "Pretraining", "sft": "Instruction tuning"}.get(verb, verb)
    small = [chart for draw in (_lr_chart, _gradient_norm_chart, _throughput_chart) if (chart := draw(training))]
    rows = [small[i : i + 2] for i in range(0, len(small), 2)]
    return (
        f'<h2>{escape(title)}</h2><p class="note">{escape(" ".join(_sentences(training)))}</p>'
        + _loss_chart(training)
        + "".join(f'<div class="pair">{"".join(row)}</div>' for row in rows)
        + _samples(list(tables.read(path / "samples.jsonl")))
    )


def _sentences(training: _Training) -> Iterator[str]:
    """How long, on how much, and whether that is much for a model of this size."""
    took = f" in {duration(training.seconds)}" if training.seconds else ""
    yield f"{training.n_steps:,} steps{took}."
    n_data = _tokens_in_data(training.facts)
    if training.n_tokens and n_data:
        read = training.n_tokens / n_data
        often = f"{read:.1f} times" if read >= 0.95 else f"{read:.0%} of"
        yield f"It read {quantity(training.n_tokens)} tokens ({often} the {quantity(n_data)} in its training data)."
    if training.n_tokens and training.n_parameters and training.run.get("verb") == "pretrain":
        ratio = training.n_tokens / training.n_parameters
        yield f"That is {ratio:.2g} tokens per parameter; the rule of thumb is {RULE_OF_THUMB}."
        if ratio < RULE_OF_THUMB / 2:
            yield "More steps on more text would make this model better, and a larger model with both better still."
    if training.best_val_loss is not None:
        bits = f" ({training.best_bits_per_byte:.3f} bits per byte)" if training.best_bits_per_byte is not None else ""
        yield f"Best validation loss {training.best_val_loss:.3f}{bits}."


def _tokens_in_data(facts: Mapping[str, Any]) -> int:
    data = facts.get("data")
    counts = data.get("train") if isinstance(data, Mapping) else None
    return counts.get("tokens", 0) if isinstance(counts, Mapping) else 0


def _loss_chart(training: _Training) -> str:
    lines = []
    if "train_loss" in training.curves:
        raw = training.curves["train_loss"]
        lines.append(svg.Line("train", "train", curves.thin(curves.smooth(raw), 600), behind=curves.thin(raw)))
    if "val_loss" in training.curves:
        held_out = training.curves["val_loss"]
        lines.append(svg.Line("validation", "val", curves.thin(held_out, 600), has_dots=len(held_out) <= 40))
    if not lines:
        return ""
    shown = [training.curves[column] for column in ("train_loss", "val_loss") if column in training.curves]
    return svg.chart("Loss per token (nats)", lines, curves.loss_limits(shown), lambda value: f"{value:.3f}")


def _lr_chart(training: _Training) -> str:
    if "lr" not in training.curves:
        return ""
    lr = curves.thin(training.curves["lr"], 600)
    limits = (0.0, float(lr.values.max()) * 1.1 or 1.0)
    return svg.chart("Learning rate", [svg.Line("", "rate", lr)], limits, lambda value: f"{value:.1e}", n_ticks=3)


def _gradient_norm_chart(training: _Training) -> str:
    """Up to where all but the highest lie: a spike goes out at the top, and plots/gradient_norm shows it whole."""
    if "grad_norm" not in training.curves:
        return ""
    raw = training.curves["grad_norm"]
    line = svg.Line("", "train", curves.thin(curves.smooth(raw), 600), behind=curves.thin(raw, 600))
    limits = (0.0, float(np.quantile(raw.values, 0.99)) * 1.2 or 1.0)
    return svg.chart("Gradient norm", [line], limits, lambda value: f"{value:.3g}", n_ticks=3)


def _throughput_chart(training: _Training) -> str:
    if "tokens_per_second" not in training.curves:
        return ""
    raw = training.curves["tokens_per_second"]
    line = svg.Line("", "train", curves.thin(curves.smooth(raw), 600), behind=curves.thin(raw, 600))
    return svg.chart("Tokens per second", [line], (0.0, float(raw.values.max()) * 1.1 or 1.0), quantity, n_ticks=3)


def _samples(rows: list[tables.Row]) -> str:
    """What the same prompt gave as training went on: the first and the last in view, those between on a click."""
    if not rows:
        return ""
    if len(rows) > SAMPLES_SHOWN:
        rows = [rows[round(i * (len(rows) - 1) / (SAMPLES_SHOWN - 1))] for i in range(SAMPLES_SHOWN)]
    shown = [
        f'<p class="step">step {row["step"]:,}</p>'
        f'<blockquote><span class="given">{escape(short(str(row["prompt"])))}</span>'
        f"{escape(short(str(row['text'])))}</blockquote>"
        for row in rows
    ]
    between = details(f"{len(shown) - 2} in between", "".join(shown[1:-1])) if len(shown) > 2 else ""
    return "<h3>Samples over time</h3>" + shown[0] + between + (shown[-1] if len(shown) > 1 else "")


# --- bottom of the page ---


def _times(seconds_by_phase: Mapping[str, float]) -> str:
    if not seconds_by_phase:
        return ""
    longest = max(seconds_by_phase.values()) or 1.0
    rows = "".join(
        f'<div class="row"><span>{escape(name)}</span>{svg.bar(seconds / longest, "part")}'
        f"<span>{duration(seconds)}</span></div>"
        for name, seconds in seconds_by_phase.items()
    )
    return f'<h2>Where the time went</h2><div class="times">{rows}</div>'


def _origins(paths: Iterable[Path]) -> str:
    """Configuration with where each value came from, data, versions and machine of every run of the page."""
    parts = []
    for path in paths:
        run = _json(path / "run.json")
        name = escape(path.name)
        parts.append(
            details(f"{name}: configuration", keys(_config_rows(path / "config.toml"), ("field", "value", "from")))
        )
        parts.append(details(f"{name}: data and seeds", keys(_flat(run.get("facts", {})))))
        about = {
            key: run[key]
            for key in ("command", "started", "ended", "config_hash", "versions", "machine")
            if run.get(key)
        }
        parts.append(details(f"{name}: versions and machine", keys(_flat(about))))
    return "<h2>How it was made</h2>" + "".join(parts) if any(parts) else ""


def _config_rows(config_toml: Path) -> Iterator[tuple[str, str, str]]:
    """(field, value, origin) of every line."""
    if not config_toml.is_file():
        return
    table = ""
    for line in config_toml.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            table = line.strip("[] ") + "."
        elif "=" in line and not line.startswith("#"):
            setting, origin = _split_comment(line)
            key, _, value = setting.partition("=")
            yield table + key.strip(), value.strip(), origin


def _split_comment(line: str) -> tuple[str, str]:
    """(`key = value`, comment): the comment begins at the first # before which the line is whole.

    >>> _split_comment('color = "#fff"  # flag --color')
    ('color = "#fff"', 'flag --color')
    """
    for at, letter in enumerate(line):
        if letter == "#":
            try:
                tomllib.loads(line[:at])
            except tomllib.TOMLDecodeError:
                continue
            return line[:at].strip(), line[at + 1 :].strip()
    return line.strip(), ""


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        elif value is not None:
            yield prefix + key.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value)


def _foot(run_dir: Path, last: Path) -> str:
    run = _json(run_dir / "run.json") or _json(last / "run.json")
    verb = "chat" if _json(last / "run.json").get("verb") == "sft" else "generate"
    version = run.get("versions", {}).get("groundup", "")
    talk = f"<p>Try it: <code>groundup {verb} {escape(str(last))}</code></p>" if (last / "checkpoints").is_dir() else ""
    written = f"<p>Written by groundup {escape(version)}. The numbers are in metrics.csv beside this page.</p>"
    return f"<footer>{talk}{written}</footer>"


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = artifact.read_json(path)
    if not isinstance(found, dict):
        raise ArtefactError("not a JSON object", where=str(path))
    return found
