"""Which files hold the text: folders walked, archives looked into, everything passed over said.

What is in them is read in sources.py.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path, PurePosixPath

from groundup.errors import DataError
from groundup.text.archives import is_archive, members, opened, plain_name

ROW_ENDINGS = (".jsonl", ".ndjson", ".json")
TEXT_ENDINGS = (".txt", ".text", ".md", ".markdown")
ENDINGS = TEXT_ENDINGS + ROW_ENDINGS

Notice = Callable[[str], None]


def ignore(text: str) -> None:
    """The notice of a caller who does not want to know."""


def files(paths: Sequence[Path | str], notice: Notice = ignore, endings: tuple[str, ...] = ENDINGS) -> list[Path]:
    """The files to read: those named, and those in named folders that end in `endings`, by name.

    A file that is named is read whatever it is called. Links to folders are followed once each, so a loop ends.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found += _files_in(path, endings, notice)
        elif path.is_file():
            if not plain_name(path.name).endswith(endings) and not is_archive(path.name):
                notice(f"{path}: read, although its name ends in none of {' '.join(endings)}")
            found.append(path)
        else:
            raise _missing(path)
    return found


def streams(
    path: Path, notice: Notice = ignore, endings: tuple[str, ...] = ENDINGS
) -> Iterator[tuple[str, BufferedReader]]:
    """A file, or each file in an archive that ends in `endings`: (name to show, stream without compression)."""
    if not is_archive(path.name):
        with opened(path) as stream:
            yield str(path), stream
        return
    passed_over: Counter[str] = Counter()
    n = 0
    for name, stream in members(path, notice):
        if _is_hidden(name):
            continue
        if plain_name(name).endswith(endings):
            n += 1
            yield f"{path}:{name}", stream
        else:
            passed_over[PurePosixPath(name).suffix or "no ending"] += 1
    if n == 0:
        raise _nothing_here(path, passed_over)
    _say_passed_over(path, passed_over, notice)


def _files_in(folder: Path, endings: tuple[str, ...], notice: Notice) -> list[Path]:
    found: list[Path] = []
    passed_over: Counter[str] = Counter()
    visited: set[Path] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        if here.resolve() in visited:
            continue
        visited.add(here.resolve())
        try:
            entries = list(here.iterdir())
        except PermissionError as error:
            raise DataError("the folder may not be read", where=str(here), hint="chmod u+rx the folder") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append(entry)
            elif entry.is_file() and (plain_name(entry.name).endswith(endings) or is_archive(entry.name)):
                found.append(entry)
            else:
                passed_over[entry.suffix or "no ending"] += 1
    if not found:
        raise _nothing_here(folder, passed_over)
    _say_passed_over(folder, passed_over, notice)
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) and part not in (".", "..") for part in PurePosixPath(name).parts)


def _say_passed_over(place: Path, passed_over: Counter[str], notice: Notice) -> None:
    if passed_over:
        kinds = ", ".join(f"{n} x {ending}" for ending, n in passed_over.most_common(5))
        notice(f"{place}: passed over {passed_over.total():,} files that are no text by their names ({kinds})")


def _nothing_here(place: Path, passed_over: Counter[str]) -> DataError:
    what = f"none of the {passed_over.total()} files is text by its name" if passed_over else "there is no file in it"
    return DataError(what, where=str(place), hint=f"read are {' '.join(ENDINGS)}, packed or not")


def _missing(path: Path) -> DataError:
    if path.exists():
        return DataError("neither a file nor a folder", where=str(path), hint="save it as a file first")
    if path.is_symlink():
        return DataError("a link that leads nowhere", where=str(path))
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return DataError(
        "there is no such file or folder",
        where=str(path),
        hint=f"did you mean {path.parent / near[0]}?" if near else None,
    )
