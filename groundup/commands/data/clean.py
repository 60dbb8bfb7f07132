"""`groundup data clean`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from groundup.errors import UsageError


@dataclass(frozen=True)
class CleanConfig:
    run_dir: str = field(default="", metadata={"positional": True})
    """a run folder"""
    dry_run: bool = False
    """list what would go, with sizes, and remove nothing"""
    json: bool = False
    quiet: bool = False


def clean(config: CleanConfig) -> None:
    """Remove what a run can make again: its token data and tokenizer, checkpoints but the best and the latest."""
    import orjson

    from groundup import artifact
    from groundup.train import cleaning
    from groundup.train.watch import quantity

    run_dir = Path(config.run_dir)
    if not config.run_dir or not run_dir.is_dir():
        what = "there is no such folder" if config.run_dir else "no run was named"
        raise UsageError(what, where=config.run_dir or None, hint="groundup runs list shows the runs")
    cleaning.check_is_run(run_dir)
    if config.dry_run:
        with artifact.lock(run_dir):  # refused as the real call would be
            found = cleaning.removable(run_dir)
    else:
        found = cleaning.remove(run_dir)
    total = sum(entry.n_bytes for entry in found)
    if config.json:
        entries = [{"path": str(entry.path), "bytes": entry.n_bytes, "why": entry.why} for entry in found]
        print(orjson.dumps({"removed": not config.dry_run, "bytes": total, "entries": entries}).decode())
    elif not config.quiet:
        for entry in found:
            print(f"{quantity(entry.n_bytes, 'B'):>8}  {entry.path}: {entry.why}", file=sys.stderr)
        would = "would free" if config.dry_run else "freed"
        print(f"{would} {quantity(total, 'B')}" if found else "there is nothing to remove", file=sys.stderr)
