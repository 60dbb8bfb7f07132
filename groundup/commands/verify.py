"""Hold a model to transformers, tensor by tensor, forward and backward, and name the cause where it differs."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from groundup.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from groundup.insight.verify.differences import Difference
    from groundup.insight.verify.report import Report

MISMATCH = 5
BEFORE, AFTER = 3, 2
"""Tensors shown around the first that differs."""
LARGE = 20_000_000
"""Parameters of a model that takes more than a few seconds."""


@dataclass(frozen=True)
class Config:
    """What `groundup verify` can be told."""

    path: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    against: str = ""
    """another folder, such as the original that it was converted from, or a file of golden tensors"""
    checksums: bool = False
    """also read every file and compare it with its checksum"""
    backward: bool = True
    """compare the gradient of every weight too, which takes twice the memory"""
    write_golden: str = ""
    """store what the judge computes in this file, for places without transformers"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """only the result"""


def run(config: Config) -> int:
    """0 for a model that is what it should be, 5 for one that is not."""
    import orjson

    from groundup.insight.verify import folders
    from groundup.train.watch import phase

    if not config.path:
        raise UsageError("no model was named", hint="groundup verify MODEL; groundup runs list shows what was trained")
    path, against = Path(config.path), Path(config.against) if config.against else None
    if config.write_golden:
        file = Path(config.write_golden)
        recording = folders.write_golden(path, file, against)
        if not config.quiet:
            print(f"golden tensors of {recording.who}, {file.stat().st_size / 1e6:.1f} MB:", file=sys.stderr)
        print(file)
        return 0
    is_quick = folders.n_parameters(path) < LARGE
    with phase("verifying", quiet=config.quiet or is_quick):
        report = folders.verify(path, against, checksums=config.checksums, backward=config.backward)
    if config.json:
        print(orjson.dumps(report.to_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        show(report)
    return 0 if report.healthy else MISMATCH


# --- for people ---


def show(report: "Report") -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    first = report.first
    if report.healthy:
        _line(console, "healthy", report.model, "bold green")
    else:
        _line(console, "unhealthy", report.model, "bold red")
    _line(console, "judge", report.judge or "none: only the checks below were made")
    if first is None:
        _show_agreement(console, report)
    else:
        _show_difference(console, report, first)
    _show_checks(console, report)
    for note in report.notes:
        _line(console, "note", note, "dim")


def _line(console: "Console", label: str, text: str, style: str = "") -> None:
    from rich.text import Text

    console.print(Text(f"{label:<11}", style or "bold") + Text(text))


def _show_agreement(console: "Console", report: "Report") -> None:
    for kind, label, what in (("activation", "forward", "tensors"), ("gradient", "backward", "gradients")):
        found = report.of_kind(kind)
        if found:
            worst = max(found, key=lambda each: each.error)
            off = f"within {worst.error:.1g}, the furthest at {worst.name}" if worst.error else "in every bit"
            _line(console, label, f"{len(found)} {what} agree {off}")


def _show_difference(console: "Console", report: "Report", first: "Difference") -> None:
    of_kind = report.of_kind(first.kind)
    at = of_kind.index(first)
    shown = of_kind[max(0, at - BEFORE) : at + 1 + AFTER]
    logits = next(each for each in report.differences if each.name == "logits")
    shown += [logits] if logits not in shown and first.kind == "activation" else []
    width = max(len(each.label) for each in shown) + 2

    console.print()
    for each in shown:
        mark = "  the first that differs" if each is first else ""
        style = "bold red" if each is first else "green" if each.agrees else ""
        console.print(f"  {each.label:<{width}}{_shown(each.error):>8}{mark}", style=style)
        if each is first and each.error == float("inf") and each.ours != each.judge:
            console.print(f"  {'':<{width}}shape {each.ours}, the judge's {each.judge}")
    n = sum(not each.agrees for each in report.differences)
    console.print(f"  {n} of {len(report.differences)} tensors differ (errors as shares of the largest number)\n")

    for cause in report.causes:
        _line(console, "cause", f"{cause.fault}: {cause.sentence}", "bold red")
        _line(console, "hint", cause.hint)
    for proof in dict.fromkeys(cause.proof for cause in report.causes):
        _line(console, "proof", proof)
    if report.rest:
        _line(console, "unknown", report.rest, "bold red")


def _shown(error: float) -> str:
    if error == 0:
        return "equal"
    return f"{error:.1e}" if error < 0.001 else f"{error:.2g}"


def _show_checks(console: "Console", report: "Report") -> None:
    if report.causes and report.failed:
        _line(console, "check", f"these fail too: {', '.join(check.name for check in report.failed)}", "bold red")
    for check in report.failed if not report.causes else ():
        _line(console, "check", f"{check.fault}: {check.sentence}", "bold red")
        if check.hint:
            _line(console, "hint", check.hint)
    passed = [check.name for check in report.checks if check.passed]
    if passed:
        _line(console, "checks", ", ".join(passed))
    for check in report.checks:
        if check.passed is not False and check.sentence:
            _line(console, "note", f"{check.name}: {check.sentence}", "dim")
