"""The checkpoints of a run folder: in order, which of them can be gone on from, which are kept.

    runs/tiny/checkpoints/step-00000200      whole, or not there (see artifact)
    runs/tiny/checkpoints/aside-step-00000300  was passed over: damaged, or later than the one that was asked for
    runs/tiny/latest, best                   text files: checkpoints/step-00000200

Their order is that of the steps in their names: no clock is asked.
"""

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from groundup import artifact
from groundup.errors import ArtefactError

FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)")
_READ_BY_NAME = (".safetensors", ".json", ".jinja", ".txt", ".model")
"""What a reader would take for a part of the model, though no manifest names it."""


def path_of(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step stands, or would."""
    return run_dir / FOLDER / f"step-{step:08d}"


def step_of(step_dir: Path) -> int:
    """The step in the name of a checkpoint."""
    found = _NAME.fullmatch(step_dir.name)
    assert found is not None, f"{step_dir} is no step's folder"
    return int(found[1])


def all_of(run_dir: Path) -> list[Path]:
    """The run's checkpoints, oldest first, whole or not."""
    found = [path for path in (run_dir / FOLDER).glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of)


def check(step_dir: Path) -> list[str]:
    """Read every byte of a checkpoint; names of files that do not belong to it and do no harm.

    ArtefactError names the file that is missing, damaged, or would be taken for a part of it.
    """
    manifest = artifact.verify(step_dir, checksums=True)
    strays = artifact.unlisted(step_dir, manifest)
    for name in strays:
        if name.endswith(_READ_BY_NAME):
            what = f"{name} is not of this checkpoint: its manifest does not name it"
            raise ArtefactError(what, where=str(step_dir), hint="move it out of the folder to go on from here")
    return strays


def set_aside(step_dir: Path) -> Path | None:
    """Rename a checkpoint so that it is found no more, and nothing of it is lost. None where the disk refuses."""
    place = step_dir.with_name(f"aside-{step_dir.name}")
    number = 1
    while os.path.lexists(place):
        number += 1
        place = step_dir.with_name(f"aside-{number}-{step_dir.name}")
    try:
        step_dir.rename(place)
    except OSError:
        return None
    return place


def point(run_dir: Path, pointer: str, step_dir: Path) -> None:
    """Let `latest` or `best` name a checkpoint."""
    content = f"{FOLDER}/{step_dir.name}\n"
    if _content(run_dir / pointer) != content:
        artifact.write_file(run_dir / pointer, content)


def pointed(run_dir: Path, pointer: str) -> Path | None:
    """The checkpoint that `latest` or `best` names; None where it names none of this run that is there."""
    named = run_dir / FOLDER / Path(_content(run_dir / pointer).strip()).name
    return named if _NAME.fullmatch(named.name) and (named / artifact.MANIFEST).is_file() else None


def prune(run_dir: Path, newest: Path, keep: int, kept_steps: Collection[int] = ()) -> None:
    """Remove what is older than the `keep` newest up to `newest`, but not the best and not those of `kept_steps`.

    `newest` must be known to be whole: it may be the only one that is.
    """
    best = pointed(run_dir, "best")
    older = [path for path in all_of(run_dir) if step_of(path) <= step_of(newest)]
    for old in older[:-keep]:
        if old != best and step_of(old) not in kept_steps:
            artifact.discard(old)


def _content(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8", errors="replace")
    return ""
