"""When the compiled form serves. Until it is ready, and for small texts, the plain form does: only training on much
text waits for it.

Compiling takes seconds, once for each version of groundup on each kind of processor. A child process does it, and numba
keeps the result in the user's cache folder, where every later process finds it. A file `ready` there says that all of
it is there. `python -m groundup.tokenizer.compiled` compiles now.
"""

import contextlib
import hashlib
import importlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from groundup import artifact
from groundup.errors import EnvironmentFault

KERNELS = ("bits", "split", "encode", "decode", "count", "merge")

WORTH_LOADING = 1_000_000
"""Bytes; the plain form has encoded as many before numba has been imported."""

WORTH_COMPILING = 32_000_000
"""Bytes; the plain form takes about five seconds for them, compiling three times as long, on a core of its own."""

WORTH_CALLING = 2_000
"""Bytes; a kernel that is loaded begins to pay here."""

OFF = "GROUNDUP_PLAIN"
"""If this is set in the environment, the plain form serves alone."""

announce: Callable[[str], None] = lambda text: None  # noqa: E731 - commands put a function here that tells people
_loaded: set[str] = set()
_loading = Lock()


def folder() -> Path:
    """Where this version of groundup keeps its compiled code for this kind of processor."""
    if sys.platform == "win32":
        caches = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "groundup" / f"compiled-{_version()}"


@cache
def _version() -> str:
    """A hash of all that the compiled code depends on. numba itself looks only at the file of each function."""
    digest = hashlib.sha256(repr((sys.version_info[:3], platform.machine(), _processor())).encode())
    for name in ("numba", "llvmlite", "numpy", "regex"):
        digest.update(metadata.version(name).encode())
    for name in (*(f"{name}_compiled" for name in KERNELS), "character_kinds"):
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def is_ready() -> bool:
    """Is the code compiled, so that a process has it within a second?"""
    try:
        # numba takes nothing from a folder that it cannot write to.
        return OFF not in os.environ and (here := folder()).joinpath("ready").exists() and os.access(here, os.W_OK)
    except (OSError, RuntimeError, metadata.PackageNotFoundError):
        return False  # no home, no numba


def serves(n_bytes: int, n_bytes_in_all: int) -> bool:
    """Shall the compiled form take so much text, of so much until now? If it is not ready, a child compiles it."""
    if n_bytes < WORTH_CALLING or (not _loaded and n_bytes_in_all < WORTH_LOADING):
        return False
    if is_ready():
        return True
    if n_bytes_in_all >= WORTH_COMPILING:
        start()
    return False


@cache
def start() -> None:
    """Begin to compile in a child process, which goes on if this one ends. Once in a process."""
    if OFF in os.environ:
        return
    try:
        folder().mkdir(parents=True, exist_ok=True)
        if not os.access(folder(), os.W_OK):
            return
        nowhere = subprocess.DEVNULL
        subprocess.Popen(
            [sys.executable, "-m", "groundup.tokenizer.compiled"],
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
    except (OSError, RuntimeError, metadata.PackageNotFoundError):
        return
    announce("compiling the fast tokenizer, once, for about 20 seconds; the plain one works meanwhile")


def ready(wait: bool = True) -> bool:
    """`is_ready`; if it is not and `wait`, compile here and now. False where numba or a cache folder is missing."""
    if not is_ready() and wait and OFF not in os.environ:
        announce("compiling the fast tokenizer, once, for about 20 seconds")
        try:
            compile_all()
        except (EnvironmentFault, OSError, RuntimeError, ImportError) as error:
            announce(f"the fast tokenizer cannot be compiled, the plain one works: {error}")
    return is_ready()


def load(name: str) -> ModuleType:
    """A module that uses kernels, such as "encoder", with numba looking for their code in `folder()`."""
    from numba.core import config

    settings: Any = config
    with _loading:
        before = settings.CACHE_DIR
        settings.CACHE_DIR = str(folder())
        try:
            module = importlib.import_module(f"groundup.tokenizer.{name}")
        finally:
            settings.CACHE_DIR = before
    _loaded.add(name)
    return module


def compile_all() -> None:
    """Compile every kernel by using it, and say so in `folder()`. Where another process is at it, wait for it."""
    with _alone():
        if not is_ready():
            load("warm_up").run()
            artifact.write_file(folder() / "ready", "")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Hold the cache folder, after whoever has it."""
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(artifact.lock(folder()))
                break
            except artifact.Locked:
                time.sleep(0.1)
        yield


if __name__ == "__main__":
    compile_all()
