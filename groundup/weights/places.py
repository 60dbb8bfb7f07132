"""Which model a path means. No torch here."""

from pathlib import Path

from groundup.errors import ArtefactError, UsageError
from groundup.weights import tensors

POINTERS = ("best", "latest")
"""Text files of a run folder that name one of its checkpoints; the first that exists counts."""


def resolve(path: Path | str) -> Path:
    """The model that a path means: itself, or of a run folder its `best` checkpoint, else its `latest`."""
    path = Path(path)
    if path.suffix == ".gguf" and path.is_file():
        return path
    if (path / "config.json").is_file():
        return path
    for pointer in POINTERS:
        if (path / pointer).is_file():
            return _follow(path, pointer)
    if path.is_file():
        raise UsageError(
            "a model is a folder or a .gguf file, and this is another file",
            where=str(path),
            hint=f"give {path.parent}; groundup import makes a folder of other programs' checkpoints",
        )
    if path.is_dir():
        tensors.refuse_other_folders(path)
    raise UsageError(
        "this folder holds no model" if path.is_dir() else "there is no such folder",
        where=str(path),
        hint="groundup runs list shows what has been trained",
    )


def _follow(run_dir: Path, pointer: str) -> Path:
    named = (run_dir / pointer).read_text(encoding="utf-8", errors="replace").strip()
    folder = run_dir / named
    is_inside = folder.resolve().is_relative_to(run_dir.resolve())
    if not is_inside or not (folder / "config.json").is_file():
        raise ArtefactError(
            f"{pointer} names {named!r}, where there is no checkpoint",
            where=str(run_dir),
            hint=f"give one of the folders in {run_dir / 'checkpoints'}",
        )
    return folder
