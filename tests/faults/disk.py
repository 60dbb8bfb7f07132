"""A disk that fails at the k-th call: `open` to write, `write`, `fsync`, `rename`, `mkdir`, `unlink`, by all of Python.

It stands below the file objects, where the system calls are, so whoever writes by whatever means passes here. A write
that fails has taken a part of the data, as a full disk does.
"""

import builtins
import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest

_FileIO = io.FileIO


class FaultyDisk:
    """As a context: the k-th call on a path in `folder` fails with `number`, and `n_calls` counts them all.

    With `for_ever` all later ones fail too: a disk that is full stays full.
    """

    def __init__(self, folder: Path, k: int, number: int = errno.EIO, for_ever: bool = False):
        self.folder, self.k, self.number, self.for_ever = str(folder), k, number, for_ever
        self.n_calls = 0
        self.failed = False
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "FaultyDisk":
        real_open = io.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
            if not (set(mode) & set("wxa+")) or not self._is_here(file):
                return real_open(file, mode, buffering, *rest, **named)
            self.call("open", file)
            raw: Any = self._raw(file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(buffered, named.get("encoding") or "utf-8", None, named.get("newline"))

        for owner in (io, builtins):
            self._patch.setattr(owner, "open", opened)
        self._patch.setattr(io, "FileIO", self._raw)  # what tables.py appends with
        for name in ("rename", "replace", "mkdir", "unlink", "truncate"):
            self._patch.setattr(os, name, self._counting(name, getattr(os, name)))
        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            if self._is_here(os.readlink(f"/proc/self/fd/{descriptor}")):
                self.call("fsync", None)
            real_fsync(descriptor)

        self._patch.setattr(os, "fsync", fsync)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def call(self, name: str, file: Any) -> None:
        """Count one, and fail if it is its turn."""
        self.n_calls += 1
        if self.n_calls == self.k or (self.for_ever and self.n_calls > self.k):
            self.failed = True
            raise OSError(self.number, os.strerror(self.number), *([os.fspath(file)] if file is not None else []))

    def _is_here(self, file: Any) -> bool:
        return not isinstance(file, int) and os.fspath(file).startswith(self.folder)

    def _counting(self, name: str, real: Any) -> Any:
        def call(file: Any, *rest: Any, **named: Any) -> Any:
            if self._is_here(file):
                self.call(name, file)
            return real(file, *rest, **named)

        return call

    def _raw(self, file: Any, mode: str) -> Any:
        disk = self

        class Raw(_FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data)
                try:
                    disk.call("write", None)
                except InterruptedError:  # nothing was taken, and the file object asks again
                    raise
                except OSError:
                    super().write(view[: len(view) // 2])
                    raise
                return super().write(view)

        return Raw(file, mode) if self._is_here(file) else _FileIO(file, mode)
