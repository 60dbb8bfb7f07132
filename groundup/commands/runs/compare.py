"""`groundup runs compare`: runs side by side: the settings in which they differ, what came of each, a picture."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from groundup.commands.runs import summary
from groundup.errors import UsageError


@dataclass(frozen=True)
class CompareConfig:
    """What `groundup runs compare` can be told."""

    runs: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """run folders, or their card.json"""
    out: str = ""
    """draw the curves over each other into this file; both a .png and a .svg are written"""
    by: Literal["step", "tokens"] = "step"
    """what the picture counts from left to right"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no remarks"""
    dry_run: bool = False
    """write no picture"""


def compare(config: CompareConfig) -> None:
    """Compare runs: a table of what differs and what came of it, and with --out a picture of their curves."""
    from groundup.insight import run_differences
    from groundup.insight.text_table import text_table
    from groundup.train import card, plots

    if len(config.runs) < 2:
        raise UsageError("at least two runs are needed", hint="groundup runs compare A B [C ...]")
    cards = [card.read(path) for path in config.runs]
    names = summary.unlike(config.runs)
    differing = dict.fromkeys(each.name for other in cards[1:] for each in run_differences.differences(cards[0], other))
    settings = {name: [_at(each, name) for each in cards] for name in differing}
    results = {name: [row.get(name) for row in map(_results, cards)] for name in RESULTS}
    results = {name: values for name, values in results.items() if any(value is not None for value in values)}
    pictures = [Path(config.out).with_suffix(kind) for kind in (".png", ".svg")] if config.out else []
    if pictures and not config.dry_run:
        plots.draw_together(dict(zip(names, cards, strict=True)), pictures, by=config.by)
    if config.json:
        about = {"runs": names, "settings": settings, "results": results, "pictures": [str(p) for p in pictures]}
        print(orjson.dumps(about).decode())
        return
    from groundup.commands.runs.diff import said

    rows: list[Sequence[str]] = [(name, *map(said, values)) for name, values in settings.items()]
    rows += [("", *("" for _ in names))] if rows else []
    rows += [(name, *(RESULTS[name](v) if v is not None else "-" for v in values)) for name, values in results.items()]
    print(text_table(("", *names), rows))
    if not config.quiet:
        remark = f"the curves over each other: {pictures[0]}" if pictures else "a picture of the curves: --out FILE.png"
        print(f"would draw {pictures[0]}" if pictures and config.dry_run else remark, file=sys.stderr)


def _steps(value: float) -> str:
    return f"{value:,.0f}"


def _loss(value: float) -> str:
    return f"{value:.4f}"


def _count(value: float) -> str:
    from groundup.train.watch import quantity

    return quantity(value)


def _time(value: float) -> str:
    from groundup.train.watch import duration

    return duration(value)


RESULTS = {
    "state": str,
    "steps": _steps,
    "parameters": _count,
    "tokens": _count,
    "tokens per parameter": lambda value: f"{value:.3g}",
    "time": _time,
    "tokens per second": _count,
    "training loss, last 3 %": _loss,
    "validation loss": _loss,
    "best validation loss": _loss,
    "best at step": _steps,
    "best bits per byte": _loss,
}


def _results(card: dict[str, Any]) -> dict[str, Any]:
    from groundup.train.card import losses

    last = card["results"]
    train = [value for value in losses(card, "train_loss").values() if value is not None]
    end = train[-max(1, len(train) * 3 // 100) :]
    tokens, seconds = last.get("tokens"), last.get("seconds")
    return {
        "state": card.get("state"),
        "steps": last.get("step"),
        "parameters": card.get("n_parameters"),
        "tokens": tokens,
        "tokens per parameter": card.get("tokens_per_parameter"),
        "time": seconds,
        "tokens per second": tokens / seconds if tokens and seconds else None,
        "training loss, last 3 %": sum(end) / len(end) if end else None,
        "validation loss": last.get("val_loss"),
        "best validation loss": last.get("best_val_loss"),
        "best at step": last.get("best_step"),
        "best bits per byte": last.get("best_val_bits_per_byte"),
    }


def _at(card: dict[str, Any], dotted: str) -> Any:
    value: Any = card
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
