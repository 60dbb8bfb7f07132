"""The one way to write what must not be half-written: a folder under a temporary name, checksums, sync, rename.

Whoever finds a folder at its own name finds it whole: files are synced before `manifest.json` is written, the manifest
before the rename, and the rename before `writing` returns. A process killed anywhere in between leaves only a
`.tmp-*` entry beside it, which `sweep` clears (or, where it was complete already, puts in place).

This file knows bytes, not what they mean; checkpoints, shards and tokenizers are written through it.
"""

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import xxhash

from groundup.errors import ArtefactError, EnvironmentFault, GroundupError, UsageError

MANIFEST = "manifest.json"
LOCK = ".lock"
# Devices on Windows, which no file may be named after.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
# Which machine a temporary name belongs to: a process number means nothing on another one.
_HOST = xxhash.xxh32_hexdigest(socket.gethostname().encode())
_TEMPORARY = re.compile(r"\.(?P<kind>tmp|old)-(?P<pid>\d+)-(?P<host>[0-9a-f]{8})-\d+-(?P<name>.+)", re.DOTALL)
# Not from 0: in a container that starts again, a new process has the number of the dead one whose traces are there.
_numbers = itertools.count(secrets.randbits(32))
_digests: dict[Path, dict[Path, dict[str, Any]]] = {}
"""For each folder that is being written, checksums of the files that were written through `writing_hashed`."""


# --- writing ---


@contextlib.contextmanager
def writing(path: Path | str, manifest: Mapping[str, Any] | None = None, *, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to fill; make it `path` when the block ends well, remove it when not.

    `manifest` is read when the block ends, so it may be filled inside; its key "files" is added here: size and
    xxh3_128 of every file. Raises UsageError when `path` exists and `replace` is false, EnvironmentFault when the
    disk is full or refuses.
    """
    path = Path(path)
    _refuse_existing(path, replace)
    temporary = _beside(path, "tmp")
    with reporting_disk(path), _by_its_name(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        known = _digests[temporary] = {}
        try:
            yield temporary
            files = {file.relative_to(temporary).as_posix(): _facts(file, known) for file in _files(temporary)}
            for file in files:
                _sync(temporary / file)
            content = orjson.dumps({**(manifest or {}), "files": files}, option=orjson.OPT_INDENT_2)
            _write_synced(temporary / MANIFEST, _sealed(content))
            for folder, _, _ in os.walk(temporary, topdown=False):
                _sync(Path(folder))
            _put_in_place(temporary, path, replace)
        finally:
            del _digests[temporary]
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing_hashed(file: Path) -> Iterator[Callable[[Any], None]]:
    """Give a function that adds bytes to a new file; inside a `writing` block they need not be read again to be summed.

    What it takes is anything with the buffer protocol. Nobody may write in that file afterwards.
    """
    digest, size = xxhash.xxh3_128(), 0
    with open(file, "wb", buffering=0) as opened:

        def write(data: Any) -> None:
            nonlocal size
            view = memoryview(data).cast("B")
            digest.update(view)
            size += len(view)
            while len(view):  # the system may take a part
                view = view[opened.write(view) :]

        yield write
    for folder in file.parents:  # not over all: another thread may begin or end a folder of its own meanwhile
        if (known := _digests.get(folder)) is not None:
            known[file] = {"size": size, "xxh3_128": digest.hexdigest()}


def write_file(path: Path | str, data: bytes | str) -> None:
    """Write one file whole: a reader, or a machine that lost power, sees the old content or the new."""
    path = Path(path)
    with reporting_disk(path):
        temporary = _beside(path, "tmp")
        try:
            _write_synced(temporary, data.encode() if isinstance(data, str) else data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


@contextlib.contextmanager
def writing_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary name to write one file at, bit by bit; make it `path` when the block ends well."""
    path = Path(path)
    temporary = _beside(path, "tmp")
    with reporting_disk(path), _by_its_name(path, temporary):
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


def write_json(path: Path | str, obj: Any) -> None:
    """Write one JSON file whole, indented for people."""
    write_file(path, orjson.dumps(obj, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def append_json(path: Path | str, obj: Any) -> None:
    """Add one line to a JSON-lines file, in one write and without sync; a torn last line is cut off first."""
    with reporting_disk(Path(path)), open(path, "a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.write(orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY))


def need_room(path: Path | str, n_bytes: int, what: str, hint: str = "") -> None:
    """EnvironmentFault if the disk of a folder that is there, or will be, has not so many bytes free.

    `what` is to be written, for the message. Quotas and limits that the system does not tell of are met while writing.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(place).free
        if free < n_bytes:
            raise EnvironmentFault(
                f"the disk has {free / 1e6:,.0f} MB free, and {what} takes {n_bytes / 1e6:,.0f} MB",
                where=str(path),
                hint=hint or "free some space there, or write to another disk",
            )


def discard(path: Path) -> None:
    """Remove a whole folder, so that nobody ever finds a part of it at its name."""
    gone = _beside(path, "tmp")
    with contextlib.suppress(FileNotFoundError):
        path.rename(gone)
        (gone / MANIFEST).unlink(missing_ok=True)  # first, or `sweep` would take it for one that was just completed
        remove(gone)


def remove(path: Path) -> None:
    """Remove a folder, file or link; nothing is said of one that is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def safe_name(name: str) -> str:
    """`name`, when it can be a file's name on any system and never leaves its folder; UsageError when not."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,128}", name) or set(name) == {"."} or _DEVICES.fullmatch(name):
        hint = "use 1 to 128 letters, digits, dots, dashes and underscores"
        raise UsageError(f"{name!r} cannot be a name here", hint=hint)
    return name


def claim(path: Path | str, kind: str = "", *, replace: bool = False, source: Path | str | None = None) -> Path:
    """The place of a new folder of that kind, or of a new file if it has none; asked for before the work is done.

    UsageError if it is taken. With `replace` it may be by an older one of the kind, and by nothing else, least of all
    by the `source` that the new one is made of or by a folder around that.
    """
    path = Path(path)
    _refuse_existing(path, replace, "choose another name, or --replace what is there")
    if source is not None and Path(source).resolve().is_relative_to(path.resolve()):
        what = f"{path.name or path} is what the new one would be made of, or a folder around it"
        raise UsageError(what, where=str(path), hint="choose another name")
    is_older_one = (kind_of(path) == kind or _is_empty_folder(path)) if kind else not path.is_dir()
    if os.path.lexists(path) and not is_older_one:
        what = f"is no {kind} folder that groundup wrote" if kind else "is a folder"
        hint = "choose another name, or remove it first"
        raise UsageError(f"{path.name or path} {what}, so it is not overwritten", where=str(path), hint=hint)
    return path


def kind_of(folder: Path) -> str | None:
    """What the manifest of a folder calls it; None if there is none that says it."""
    try:
        manifest = read_json(folder / MANIFEST)
    except ArtefactError:
        return None
    return manifest.get("kind") if isinstance(manifest, dict) else None


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())


def _refuse_existing(path: Path, replace: bool, hint: str = "choose another name, or remove it first") -> None:
    if not replace and os.path.lexists(path) and not _is_empty_folder(path):
        raise UsageError(f"{path.name or path} exists already", where=str(path), hint=hint)


def _put_in_place(temporary: Path, path: Path, replace: bool) -> None:
    """Rename; an old version steps aside first, since no folder can be renamed over a full one."""
    _refuse_existing(path, replace)
    aside = _beside(path, "old")
    if os.path.lexists(path):
        path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        if os.path.lexists(aside):
            aside.rename(path)
        raise
    _sync(path.parent)
    remove(aside)


def _beside(path: Path, kind: str) -> Path:
    return path.parent / f".{kind}-{os.getpid()}-{_HOST}-{next(_numbers)}-{path.name}"


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _facts(file: Path, known: Mapping[Path, dict[str, Any]]) -> dict[str, Any]:
    """Size and checksum of a file: as they were summed while it was written, or read again."""
    facts = known.get(file)
    return facts if facts is not None and facts["size"] == file.stat().st_size else _checksum(file)


def _sealed(content: bytes) -> bytes:
    """A manifest whose last entry is its own checksum, so that no damage in it passes either."""
    return content.removesuffix(b"\n}") + f',\n  "checksum": "{xxhash.xxh3_128_hexdigest(content)}"\n}}\n'.encode()


def _checksum(file: Path) -> dict[str, Any]:
    digest, size = xxhash.xxh3_128(), 0
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
            size += len(block)
    return {"size": size, "xxh3_128": digest.hexdigest()}


def _write_synced(file: Path, data: bytes) -> None:
    with open(file, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open a folder; its renames are journalled
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _by_its_name(path: Path, temporary: Path) -> Iterator[None]:
    """Errors that happen under the temporary name tell the name that people gave: the other is gone by then."""
    try:
        yield
    except GroundupError as error:
        if error.where is not None:
            error.where = error.where.replace(str(temporary), str(path))
        raise


_REFUSED = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINTR, errno.EBUSY,
    errno.EMFILE, errno.ENFILE, errno.ESTALE,
}  # fmt: skip
"""What a disk, or the system for it, answers where it does not write."""


@contextlib.contextmanager
def reporting_disk(path: Path) -> Iterator[None]:
    """What the system refuses to write, as an EnvironmentFault; libraries wrap "disk full" in errors of their own."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left on device" in str(error):
            hint = "free some space there, or write to another disk; what was there before is untouched"
            raise EnvironmentFault("the disk is full", where=str(path), hint=hint) from error
        filename = getattr(error, "filename", None)
        if number in _REFUSED and (filename is None or Path(os.fsdecode(filename)).is_relative_to(path.parent)):
            raise EnvironmentFault(f"cannot write: {os.strerror(number)}", where=str(path)) from error
        raise


# --- reading ---


def verify(path: Path | str, *, checksums: bool = False) -> dict[str, Any]:
    """The manifest of a folder whose files are all there with their sizes, and with their bytes if `checksums`.

    Raises ArtefactError naming the first file that is missing, of another size, or damaged.
    """
    path = Path(path)
    manifest = read_json(path / MANIFEST)
    if checksums:
        _refuse_broken_seal(path / MANIFEST, manifest)
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict) or not all(isinstance(facts, dict) and "size" in facts for facts in files.values()):
        raise ArtefactError("the manifest lists no files", where=str(path / MANIFEST))
    for name, facts in files.items():
        file = path / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtefactError(f"the manifest names a file outside the folder: {name}", where=str(path / MANIFEST))
        if not file.is_file():
            raise ArtefactError(f"{name} is missing", where=str(path))
        if (size := file.stat().st_size) != facts["size"]:
            raise ArtefactError(f"{name} has {size} bytes, its manifest says {facts['size']}", where=str(file))
        if checksums and _checksum(file)["xxh3_128"] != facts.get("xxh3_128"):
            raise ArtefactError(f"{name} is damaged: its checksum differs from the manifest's", where=str(file))
    return manifest


def unlisted(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files of a folder that its manifest does not name."""
    found = (file.relative_to(path).as_posix() for file in _files(path))
    return [name for name in found if name not in manifest["files"] and name != MANIFEST]


def _refuse_broken_seal(file: Path, manifest: Any) -> None:
    """Manifests that were written before they had a checksum end with their files."""
    last = next(reversed(manifest.values()), None) if isinstance(manifest, dict) else None
    if isinstance(last, str):
        content, found, _ = (raw := file.read_bytes()).rpartition(b',\n  "checksum": "')
        if not found or _sealed(content + b"\n}") != raw:
            raise ArtefactError(f"{file.name} is damaged: its checksum differs", where=str(file))


def read_json(path: Path | str) -> Any:
    """The content of a JSON file that groundup wrote; ArtefactError when it is missing or damaged."""
    try:
        return orjson.loads(Path(path).read_bytes())
    except orjson.JSONDecodeError as error:
        raise ArtefactError(f"not valid JSON: {error}", where=str(path)) from error
    except FileNotFoundError as error:
        raise ArtefactError(f"{Path(path).name} is missing", where=str(Path(path).parent)) from error
    except OSError as error:
        raise ArtefactError(f"cannot read {Path(path).name}: {error.strerror}", where=str(path)) from error


# --- several processes ---

_held: set[Path] = set()  # locks of this process, which the system would grant it twice


class Locked(EnvironmentFault):
    """Somebody else holds the folder."""


@contextlib.contextmanager
def lock(folder: Path | str) -> Iterator[None]:
    """Hold a folder (made if absent) alone. A second holder gets Locked, an EnvironmentFault naming the first.

    The system lets go when the process ends, however it ends, so the lock of a dead process is simply taken. The lock
    is the process's own and not its children's: an orphaned worker cannot keep a run folder closed.
    """
    folder = Path(folder)
    with reporting_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = folder.resolve() / LOCK
        if file in _held:
            raise _locked(folder, str(os.getpid()))
        opened = open(file, "a+b", buffering=0)  # noqa: SIM115 - closing it lets go of the lock
    try:
        try:
            _lock_file(opened)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):  # such as network file systems without locks
                raise EnvironmentFault(f"cannot lock: {error.strerror}", where=str(file)) from error
            opened.seek(0)
            raise _locked(folder, opened.read(32).decode("ascii", "replace").strip()) from error
        _held.add(file)
        with contextlib.suppress(OSError):  # it only tells the next one who it is: a full disk may refuse it
            opened.truncate(0)
            opened.write(f"{os.getpid()}\n".encode())
        yield
    finally:
        _held.discard(file)
        opened.close()


class GrowingFile:
    """A file of JSON lines that one process adds to; made by `growing`."""

    def __init__(self, path: Path, opened: BinaryIO):
        self._path = path
        self._opened = opened
        self._n_whole: int | None = None
        """Bytes of whole lines, until a torn one behind them was cut off."""

    def rows(self) -> Iterator[Any]:
        """What stands in it, row by row, but for a torn last line. ArtefactError for another that is no JSON."""
        self._opened.seek(0)
        self._n_whole = 0
        for number, line in enumerate(self._opened, 1):
            if not line.endswith(b"\n"):
                return
            self._n_whole += len(line)
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ArtefactError(f"not valid JSON: {error}", where=f"{self._path}, line {number:,}") from error

    def add(self, obj: Any) -> None:
        """One more row at the end: a process killed later has written it. To be called after `rows` was read."""
        with reporting_disk(self._path):
            if self._n_whole is not None:
                self._opened.truncate(self._n_whole)
                self._n_whole = None
            self._opened.write(orjson.dumps(obj, option=orjson.OPT_APPEND_NEWLINE))
            self._opened.flush()


@contextlib.contextmanager
def growing(path: Path | str) -> Iterator[GrowingFile]:
    """Hold a file of JSON lines (made if absent) alone, to go on where a process that was killed had come to.

    Nothing in it is changed before a row is added; then a torn last line is cut off. What was added is on the disk when
    the block ends. A second process gets Locked.
    """
    path = Path(path)
    with reporting_disk(path):
        opened = open(path, "a+b")  # noqa: SIM115 - one file all along: closing any other would let go of the lock
    with opened:
        try:
            _lock_file(opened)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise EnvironmentFault(f"cannot lock: {error.strerror}", where=str(path)) from error
            hint = "wait for it to end, or choose another file"
            raise Locked("another process is writing to this file", where=str(path), hint=hint) from error
        try:
            yield GrowingFile(path, opened)
        finally:
            with reporting_disk(path):
                os.fsync(opened.fileno())


def _lock_file(opened: BinaryIO) -> None:
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        import msvcrt

        opened.seek(1 << 30)  # beyond the text, so that others can still read who holds it
        msvcrt.locking(opened.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(folder: Path, pid: str) -> Locked:
    return Locked(
        f"another process is writing there (pid {pid or 'unknown'})",
        where=str(folder),
        hint="wait for it to end, or choose another folder",
    )


def sweep(folder: Path | str, *, is_mine: bool = False) -> None:
    """Clear what dead processes of this machine left half-done among the entries of `folder`.

    A temporary folder with its manifest was complete: it goes where it was going, if that place is free. An old
    version that had stepped aside goes back where no new one arrived. With `is_mine` the caller holds the lock under
    which alone anybody writes there: then what this process does not write just now is of a dead one, also if it came
    from another machine, or if a living process has its number.
    """
    found = [(entry, match) for entry in Path(folder).glob(".*-*") if (match := _TEMPORARY.fullmatch(entry.name))]
    for entry, match in sorted(found, key=lambda pair: pair[1]["kind"], reverse=True):  # the new before the old
        is_dead = match["host"] == _HOST and not _is_alive(int(match["pid"]))
        if not (is_dead or is_mine) or entry in _digests:
            continue
        place = entry.parent / match["name"]
        is_whole = match["kind"] == "old" or (entry / MANIFEST).is_file()
        if is_whole and not os.path.lexists(place):
            entry.rename(place)
            _sync(place.parent)
        else:
            remove(entry)


def _is_alive(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid)
