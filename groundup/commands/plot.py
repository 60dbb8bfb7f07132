"""Draw what a run will do, or did: the learning rate of its steps."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup import config as configs
from groundup.errors import UsageError
from groundup.train.config import TrainConfig

MOST_POINTS = 20_000


@dataclass(frozen=True)
class LrConfig:
    """What `groundup plot lr` can be told."""

    source: str = field(default="", metadata={"positional": True})
    """a TOML file of pretrain or sft, for the run it would make; or a run folder, for what it did"""
    out: str = ""
    """the pictures, without .png and .svg: by default lr in this folder, or plots/lr in the run folder"""
    n_steps: int = 0
    """draw a run of so many steps; 0 takes the file's"""
    json: bool = False
    """the points as one JSON object on stdout: name, steps, lr, and the files"""
    quiet: bool = False
    """no remarks"""
    dry_run: bool = False
    """say which files would be written"""


def lr(config: LrConfig) -> None:
    """Draw the learning rate over the steps as PNG and SVG: before a run from its configuration, after it as it was.

    Prints the paths. A folder whose run has made no step yet is drawn from its configuration.
    """
    import orjson

    from groundup.train import plots

    source = Path(config.source)
    if not config.source:
        raise UsageError("no configuration was named", hint="groundup plot lr FILE.toml, or a run folder")
    if config.n_steps < 0:
        raise UsageError(f"n_steps = {config.n_steps}: must not be negative", hint="--n-steps 1000")
    if source.is_dir() and not (source / "config.toml").is_file():
        raise UsageError("this folder is no run", where=str(source), hint="groundup runs list shows them")

    curve, remark = (None, "") if config.n_steps else made(source)
    if curve is None:
        curve, remark = planned(source / "config.toml" if source.is_dir() else source, config.n_steps)
    stem = Path(config.out) if config.out else source / "plots" / "lr" if source.is_dir() else Path("lr")
    stem = stem.with_suffix("") if stem.suffix in (".png", ".svg") else stem
    files = [stem.with_name(stem.name + suffix) for suffix in (".png", ".svg")]
    if not config.dry_run:
        plots.draw_lr(source.resolve().name.removesuffix(".toml"), curve, files, remark)
    elif not config.quiet:
        print("would write:", file=sys.stderr)
    if config.json:
        points = {"steps": curve.steps.tolist(), "lr": curve.values.tolist()}
        print(orjson.dumps({"name": source.name, **points, "files": [str(file) for file in files]}).decode())
    else:
        print("\n".join(map(str, files)))


VERBS = {"lr": lr}


def made(source: Path) -> tuple[Any, str]:
    """The rates that a run folder wrote down; None where there are none yet."""
    from groundup.train import curves

    columns = curves.read(source / "metrics.jsonl", ("lr",)) if source.is_dir() else {}
    return columns.get("lr"), ""


def planned(file: Path, n_steps: int) -> tuple[Any, str]:
    """The rates that a run of this configuration would take, asked of the loop's own `rate`; and what is to be said."""
    import numpy as np

    from groundup.train.curves import Curve
    from groundup.train.step import rate

    train = train_config(file)
    is_guess = bool(train.minutes) and not n_steps
    n_steps = n_steps or train.n_steps or 1000
    at = np.unique(np.linspace(0, n_steps - 1, min(n_steps, MOST_POINTS)).astype(np.int64))
    values = [train.lr * rate(train, float(place), n_steps) for place in at]
    remark = f"; Muon {train.matrix_lr / train.lr:.3g} times that" if is_muon(train) else ""
    if is_guess:
        remark += f"; {train.minutes:g} minutes drawn as {n_steps:,} steps"
    return Curve(at + 1, np.array(values)), remark


def is_muon(train: TrainConfig) -> bool:
    return train.optimizer == "muon" and train.lr > 0


def train_config(file: Path) -> TrainConfig:
    """The table [train] of a configuration; its defaults where there is none."""
    import tomllib

    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError("this is no TOML file", where=f"{file}: {error}", hint="groundup plot lr FILE.toml") from error
    settings = table.get("train", {})
    if not isinstance(settings, dict):
        raise UsageError("train is a table", where=str(file), hint="write [train] and its settings below")
    if not settings and (known := {leaf for leaf in configs.leaves(TrainConfig) if leaf in table}):
        raise UsageError(f"{min(known)} stands outside its table", where=str(file), hint="put it below a line [train]")
    return configs.from_dict(TrainConfig, settings, where=str(file))
