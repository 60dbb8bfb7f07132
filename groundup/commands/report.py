"""Write one self-contained HTML page about a run: curves, samples, answers, configuration."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundup.errors import UsageError


@dataclass(frozen=True)
class Config:
    """What `groundup report` can be told."""

    run_dir: str = field(default="", metadata={"positional": True})
    """a run folder, or the folder of a demo"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """no remarks"""
    dry_run: bool = False
    """say which file would be written"""


def run(config: Config) -> None:
    """Prints the path of the page, and draws the pictures anew where matplotlib is installed."""
    import orjson

    from groundup.insight import report
    from groundup.train import plots

    run_dir = Path(config.run_dir)
    if not config.run_dir:
        raise UsageError("no run was named", hint="groundup runs list shows them")
    report.check_run(run_dir)
    written: dict[str, Any] = {"report": str(run_dir / "report.html"), "plots": []}
    if not config.dry_run:
        written["plots"] = [str(path) for path in plots.draw_if_possible(run_dir)]
        report.write(run_dir)
    if config.json:
        print(orjson.dumps(written).decode())
        return
    if config.dry_run and not config.quiet:
        print("would write:", file=sys.stderr)
    print(written["report"])
