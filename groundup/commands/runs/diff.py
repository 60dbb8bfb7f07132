"""`groundup runs diff`: what was different about two runs, and where their losses part."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from groundup.commands.runs import summary
from groundup.errors import UsageError


@dataclass(frozen=True)
class DiffConfig:
    """What `groundup runs diff` can be told."""

    runs: tuple[str, ...] = field(default=(), metadata={"positional": True})
    """two run folders, or their card.json"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no remarks"""


def diff(config: DiffConfig) -> None:
    """Say what differed between two runs: settings, data, tokenizer, versions, machine, seeds, and the first loss."""
    from groundup.insight import run_differences
    from groundup.train import card

    if len(config.runs) != 2:
        raise UsageError(f"two runs are needed, not {len(config.runs)}", hint="groundup runs diff A B")
    a, b = map(card.read, config.runs)
    found = run_differences.differences(a, b)
    losses = run_differences.compare_losses(a, b)
    if config.json:
        about: dict[str, Any] = {
            "differences": [difference._asdict() for difference in found],
            "losses_identical": losses.are_identical,
            "first_difference": losses.first and dict(zip(("column", "step", "a", "b"), losses.first, strict=True)),
            "largest_relative_difference": losses.largest,
        }
        print(orjson.dumps(about).decode())
        return
    names = summary.unlike(config.runs)
    print(table(found, *names))
    print(run_differences.sentence(losses, *names))


def table(found: list[Any], a: str, b: str) -> str:
    """The differences for people, as name and two values."""
    from groundup.insight.text_table import text_table

    if not found:
        return "nothing that is recorded differs"
    return text_table(("", a, b), [(each.name, said(each.a), said(each.b)) for each in found])


def said(value: Any) -> str:
    """A value in a table cell; a hash by its beginning."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    is_hash = len(text) == 32 and not text.strip("0123456789abcdef")
    return f"{text[:12]}…" if is_hash else text if len(text) <= 48 else f"{text[:47]}…"
