"""One run in a row: state, steps, losses, size, age; and what to call it, for every sub-verb of `groundup runs`."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.errors import ArtefactError

METRICS = ("step", "train_loss", "val_loss", "val_bits_per_byte", "tokens", "seconds")


def of(path: Path, root: Path) -> dict[str, Any]:
    """What is known of the run in `path`. A damaged run is told as such: it must not hide the others."""
    from groundup.train import run_folder, tables

    row: dict[str, Any] = {"name": path.relative_to(root).as_posix(), "run_dir": str(path)}
    try:
        run = artifact.read_json(path / "run.json")
        row |= {"verb": run.get("verb", ""), "state": run_folder.read_state(path), "started": run.get("started")}
        for metrics in tables.read(path / "metrics.jsonl"):
            row |= {key: value for key, value in metrics.items() if key in METRICS}
    except ArtefactError as error:
        row |= {"state": "damaged", "error": str(error)}
    files = [file for file in path.rglob("*") if file.is_file()]
    row["bytes"] = sum(file.stat().st_size for file in files)
    row["seconds_since_change"] = round(time.time() - max(file.stat().st_mtime for file in files))
    return row


def loss(value: float | None) -> str:
    """Three digits, or nothing."""
    return "" if value is None else f"{value:.3f}"


def ago(seconds: float) -> str:
    """How long ago, in one unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "now"


def unlike(paths: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart: the folder's name where that is enough.

    >>> unlike(["runs/a/card.json", "runs/b", "runs/b/"])
    ['a', 'b', 'b (2)']
    """
    parts = [[part for part in Path(path).parts if part != "card.json"] or [path] for path in paths]
    length = next((n for n in range(1, 8) if not _repeated("/".join(p[-n:]) for p in parts)), 1)
    names = ["/".join(p[-length:]) for p in parts]
    seen: Counter[str] = Counter()
    for i, name in enumerate(names):
        seen[name] += 1
        names[i] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return names


def _repeated(names: Iterator[str]) -> bool:
    return any(n > 1 for n in Counter(names).values())
