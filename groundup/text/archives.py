"""Files and archives as streams of bytes: gz, xz, zst and bz2, tar in any of them, zip.

Nothing is unpacked to disk, so no name in an archive can reach another file. What an archive can still do is grow
without end while it is read; `Budget` refuses that. Damage of any kind becomes a `DataError`.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import zstandard

from groundup.errors import DataError

MAX_RATIO = 200
"""Text shrinks by 3 to 60; a bomb by a thousand and more."""
FREE_BYTES = 64 * 2**20
"""What any archive may hold, whatever its ratio."""
BUFFER = 2**20

BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, tarfile.TarError, zipfile.BadZipFile)
SHORT_NAMES = {".tgz": ".tar.gz", ".txz": ".tar.xz", ".tbz": ".tar.bz2", ".tbz2": ".tar.bz2", ".tzst": ".tar.zst"}


def plain_name(name: str) -> str:
    """A file's name in small letters without the ending of its compression: `Books.TXT.xz` is `books.txt`."""
    return _endings(name)[0]


def is_archive(name: str) -> bool:
    """Does a file of this name hold other files?"""
    return plain_name(name).endswith((".tar", ".zip"))


def _endings(name: str) -> tuple[str, list[str]]:
    """A name without its compressions, and these from the outside in."""
    name, compressions = name.lower(), []
    for short, full in SHORT_NAMES.items():
        name = name.removesuffix(short) + full if name.endswith(short) else name
    while (ending := PurePosixPath(name).suffix) in DECOMPRESSORS:
        name = name.removesuffix(ending)
        compressions.append(ending)
    return name, compressions


class Budget:
    """How much a packed file may turn into; shared by all streams that come out of it."""

    def __init__(self, packed_bytes: int, where: str):
        self.where, self.left = where, max(FREE_BYTES, MAX_RATIO * packed_bytes)

    def spend(self, n_bytes: int) -> None:
        self.left -= n_bytes
        if self.left < 0:
            raise DataError(
                f"refused: it unpacks to more than {MAX_RATIO} times its size",
                where=self.where,
                hint="if you trust the file, unpack it yourself and name the folder",
            )


class _Guarded(io.RawIOBase):
    """A stream that keeps within a budget and reports damage as `DataError`."""

    def __init__(self, stream: IO[bytes], budget: Budget | None, where: str):
        self.stream, self.budget, self.where = stream, budget, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with reporting_damage(self.where):
            block = self.stream.read(len(buffer))
        if self.budget is not None:
            self.budget.spend(len(block))
        buffer[: len(block)] = block
        return len(block)


def _guarded(stream: IO[bytes], budget: Budget | None, where: str) -> io.BufferedReader:
    return io.BufferedReader(_Guarded(stream, budget, where), BUFFER)


class _Zstandard(io.RawIOBase):
    """Frames of Zstandard one after the other. The library's own reader takes a file that was cut off for whole."""

    INPUT = 2048  # bytes at a time, since four of them can turn into 128 KiB

    def __init__(self, file: IO[bytes]):
        self._file, self._frame, self._rest, self._out = file, None, b"", b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._out:
            packed = self._rest or self._file.read(self.INPUT)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last frame is not complete")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._out, self._rest = self._frame.decompress(packed), b""
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        n = min(len(buffer), len(self._out))
        buffer[:n], self._out = self._out[:n], self._out[n:]
        return n


DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".xz": lzma.LZMAFile,
    ".bz2": bz2.BZ2File,
    ".zst": lambda file: io.BufferedReader(_Zstandard(file), BUFFER),
}


@contextmanager
def reporting_damage(where: str) -> Iterator[None]:
    """What libraries raise about a broken file, as one `DataError`."""
    try:
        yield
    except PermissionError as error:
        raise DataError("may not be read", where=where, hint="chmod u+r the file") from error
    except EOFError as error:
        raise DataError("ends early: the file was cut off", where=where, hint="copy or download it again") from error
    except BROKEN as error:
        raise DataError(f"cannot be read: {error}", where=where, hint="copy or download it again") from error
    except (RuntimeError, NotImplementedError) as error:  # zipfile, of passwords and methods it does not know
        raise DataError(f"cannot be read: {error}", where=where, hint="unpack it yourself first") from error


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file without its compressions."""
    where = str(path)
    with reporting_damage(where), open(path, "rb") as file:
        yield _unpacked(file, path.name, Budget(path.stat().st_size, where), where)


def _unpacked(file: io.BufferedReader, name: str, budget: Budget, where: str) -> io.BufferedReader:
    for ending in _endings(name)[1]:
        with reporting_damage(where):
            file = _guarded(DECOMPRESSORS[ending](file), budget, where)
    return file


def members(path: Path, notice: Callable[[str], None]) -> Iterator[tuple[str, io.BufferedReader]]:
    """The files in an archive, in its order: (name, stream). What is no plain file is passed over with a notice.

    Each stream must be read before the next member is asked for.
    """
    return _zip_members(path) if plain_name(path.name).endswith(".zip") else _tar_members(path, notice)


def _tar_members(path: Path, notice: Callable[[str], None]) -> Iterator[tuple[str, io.BufferedReader]]:
    budget = Budget(path.stat().st_size, str(path))
    with opened(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # else it would remember every member of a long archive
            where = f"{path}:{member.name}"
            _check_name(member.name, where)
            if member.isfile():
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, _unpacked(_guarded(content, None, where), member.name, budget, where)
            elif not member.isdir():
                notice(f"{where}: passed over, it is a link or a device and not a file")


def _zip_members(path: Path) -> Iterator[tuple[str, io.BufferedReader]]:
    budget = Budget(path.stat().st_size, str(path))
    with reporting_damage(str(path)), zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            where = f"{path}:{member.filename}"
            _check_name(member.filename, where)
            if not member.is_dir():
                with reporting_damage(where), archive.open(member) as content:
                    yield member.filename, _unpacked(_guarded(content, budget, where), member.filename, budget, where)


def _check_name(name: str, where: str) -> None:
    """No honest archive of texts has names that lead out of it."""
    if ".." in PurePosixPath(name.replace("\\", "/")).parts or name.startswith(("/", "\\")):
        raise DataError(
            "refused: the archive holds a name that leads out of it",
            where=where,
            hint="if you trust the file, unpack it yourself and name the folder",
        )
