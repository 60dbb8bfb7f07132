"""Where numba's compiled code is kept, and when it is there.

Compiling takes seconds, once for each version of groundup on each kind of processor. A child process does it, and numba
keeps the result in the user's cache folder, where every later process finds it. A file `ready` there says that all of
it is there. Until then, a plain form serves, or the torch engine.
"""

import contextlib
import hashlib
import importlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from groundup import artifact

OFF = "GROUNDUP_PLAIN"
"""If this is set in the environment, no compiled code serves."""

_loading = Lock()


class CompiledCode:
    """The kernels of one package: where they are kept, whether they are ready, compiling and loading them.

    `files` are all that the code depends on; `main` is a module that compiles them when it is run.
    """

    def __init__(self, package: str, files: Callable[[], Sequence[Path]], main: str, libraries: Sequence[str]):
        self.package, self.main, self.libraries = package, main, libraries
        self._files = files
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def folder(self) -> Path:
        """Where this version of groundup keeps its compiled code for this kind of processor."""
        return caches() / f"compiled-{self._version}"

    @cached_property
    def _version(self) -> str:
        """A hash of all that the compiled code depends on.

        numba itself looks at where the file of each function lies, and when it was written, and at no other file.
        """
        digest = hashlib.sha256(repr((sys.version_info[:3], platform.machine(), processor())).encode())
        for name in self.libraries:
            digest.update(metadata.version(name).encode())
        for file in self._files():
            digest.update(f"{file} {file.stat().st_mtime_ns}".encode() + file.read_bytes())
        return digest.hexdigest()[:16]

    def is_ready(self, part: str = "") -> bool:
        """Is the code (or a part of it) compiled, so that a process has it within a second?"""
        try:
            # numba takes nothing from a folder that it cannot write to.
            here = self.folder
            return not is_off() and here.joinpath(f"ready{part}").exists() and os.access(here, os.W_OK)
        except (OSError, RuntimeError, metadata.PackageNotFoundError):
            return False  # no home, no numba

    def obstacle(self) -> str | None:
        """Why nothing can be compiled and kept here, in words; None where it can be."""
        if is_off():
            return f"{OFF} is set"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return None if os.access(self.folder, os.W_OK) else f"{self.folder} cannot be written to"
        except OSError as error:
            return f"{error.filename or caches()}: {(error.strerror or str(error)).lower()}"
        except RuntimeError as error:
            return str(error)  # no home
        except metadata.PackageNotFoundError as error:
            return f"{error.name} is not installed"

    def start(self, part: str = "") -> bool:
        """Begin to compile in a child process, which goes on if this one ends. Once in a process; was it begun now?"""
        if part in self._started or self.obstacle():
            return False
        try:
            nowhere = subprocess.DEVNULL
            child = subprocess.Popen(
                [sys.executable, "-m", self.main, *([part] if part else [])],
                stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True,
            )  # fmt: skip
        except OSError:
            return False
        self._started[part] = child  # nobody waits for it
        return True

    def compile(self, use: Callable[[], object], part: str = "") -> None:
        """Compile by using every kernel, and say so in the folder. Where another process is at it, wait for it."""
        with self._alone():
            if not self.is_ready(part):
                use()
                artifact.write_file(self.folder / f"ready{part}", "")

    def load(self, name: str) -> ModuleType:
        """A module of the package that uses kernels, with numba looking for their code in the folder."""
        from numba.core import config

        settings: Any = config
        with _loading:
            before = settings.CACHE_DIR
            settings.CACHE_DIR = str(self.folder)
            try:
                return importlib.import_module(f"{self.package}.{name}")
            finally:
                settings.CACHE_DIR = before

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder, after whoever has it."""
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(artifact.lock(self.folder))
                    break
                except artifact.Locked:
                    time.sleep(0.1)
            yield


def take_only(kernel: Any) -> None:
    """For kernels; other values stay as they are.

    Before it takes compiled code, numba registers all that it could compile with, up to a tenth of a second. What is
    compiled already needs only the runtime; where there is something to compile, numba registers it then.
    """
    cache: Any = getattr(kernel, "_cache", None)
    if not hasattr(cache, "_load_overload"):  # numba's own affair, so it may have another name one day
        return
    from numba.core.runtime.nrt import rtsys

    def load_overload(signature: Any, context: Any) -> Any:
        rtsys.initialize(context)
        with cache._guard_against_spurious_io_errors():
            return cache._load_overload(signature, context)

    cache.load_overload = load_overload


def is_off() -> bool:
    """Does the user want no compiled code to serve?"""
    return OFF in os.environ


def caches() -> Path:
    """The user's folder for what can be made again."""
    if sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "groundup"


@cache
def processor() -> str:
    """The kind of processor, with all that it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
