"""What a run folder holds that can be made again or is no longer needed, and its removal.

    data/, tokenizer/      made from raw text that is still there: the next call makes them again, byte for byte
    checkpoints/step-*     all but the best and the latest (and where that is damaged, the newest that is whole)
    .tmp-*, .old-*         what a killed process left half-done

What was measured (metrics, events, samples, plots, the report) stays.
"""

import contextlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from groundup import artifact
from groundup.errors import ArtefactError
from groundup.train import step_dirs


@dataclass(frozen=True)
class Removable:
    """An entry of a run folder that can go, its size in bytes, and why."""

    path: Path
    n_bytes: int
    why: str


def removable(run_dir: Path) -> list[Removable]:
    """Everything that can go, in the order of the names above. Changes nothing."""
    return [Removable(path, _size(path), why) for path, why in _found(run_dir)]


def remove(run_dir: Path) -> list[Removable]:
    """Remove it, and return what was removed. `artifact.Locked`, an EnvironmentFault, where a process holds the run."""
    with artifact.lock(run_dir):
        found = removable(run_dir)
        for entry in found:
            artifact.remove(entry.path)
    return found


def _found(run_dir: Path) -> Iterator[tuple[Path, str]]:
    if _can_be_made_again(run_dir):
        for name in ("data", "tokenizer"):
            if (run_dir / name / ("manifest.json" if name == "data" else "tokenizer.json")).is_file():
                yield run_dir / name, "made again from the text when the run is called again"
    kept = _kept(run_dir)
    for step_dir in step_dirs.all_of(run_dir):
        if step_dir.name not in kept:
            yield step_dir, "neither the best nor the latest checkpoint"
    for folder in (run_dir, run_dir / step_dirs.FOLDER):
        for left in sorted([*folder.glob(".tmp-*"), *folder.glob(".old-*")]):
            yield left, "left half-done by a process that died"


def _kept(run_dir: Path) -> set[str]:
    """Names of the checkpoints that stay: those that `best` and `latest` name, the newest, the newest that is whole."""
    kept: set[str] = set()
    for pointer in ("best", "latest"):
        with contextlib.suppress(OSError):
            kept.add(Path((run_dir / pointer).read_text(encoding="utf-8").strip()).name)
    newest_first = step_dirs.all_of(run_dir)[::-1]
    kept.update(step_dir.name for step_dir in newest_first[:1])
    for step_dir in newest_first:
        with contextlib.suppress(ArtefactError):
            step_dirs.check(step_dir)
            kept.add(step_dir.name)
            break
    return kept


def _can_be_made_again(run_dir: Path) -> bool:
    """Is the text that the run's own data was made of still there, and does no other run read that data?"""
    named = _data_of(run_dir)
    if not named or not all(path.exists() for path in named):
        return False
    own = run_dir.resolve()
    others = (path.parent for path in run_dir.parent.glob("*/config.toml") if path.parent.resolve() != own)
    return not any(path.resolve().is_relative_to(own) for other in others for path in _data_of(other))


def _data_of(run_dir: Path) -> list[Path]:
    """The paths that a run was pointed at; none where its config cannot be read."""
    try:
        named = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8")).get("data", ())
    except (OSError, tomllib.TOMLDecodeError):
        return []
    return [Path(name) for name in ([named] if isinstance(named, str) else named) if name]


def _size(path: Path) -> int:
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or file.is_file())


def check_is_run(run_dir: Path) -> None:
    """ArtefactError for a folder that is no run."""
    if not (run_dir / "run.json").is_file():
        raise ArtefactError("this folder holds no run", where=str(run_dir), hint="groundup runs list shows the runs")
