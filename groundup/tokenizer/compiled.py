"""When the compiled form serves. Until it is ready, and for small texts, the plain form does: only training on much
text waits for it.

Compiling takes seconds, once for each version of groundup on each kind of processor. A child process does it, and numba
keeps the result in the user's cache folder, where every later process finds it. A file `ready` there says that all of
it is there. `python -m groundup.tokenizer.compiled` compiles now.
"""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

from groundup import compiled_code
from groundup.errors import EnvironmentFault

KERNELS = ("bits", "split", "encode", "decode", "count", "merge")

WORTH_LOADING = 1_000_000
"""Bytes; the plain form has encoded as many before numba has been imported."""

WORTH_COMPILING = 32_000_000
"""Bytes; the plain form takes about five seconds for them, compiling three times as long, on a core of its own."""

WORTH_CALLING = 2_000
"""Bytes; a kernel that is loaded begins to pay here."""

CODE = compiled_code.CompiledCode(
    "groundup.tokenizer",
    lambda: [
        Path(__file__).with_name(f"{name}.py") for name in (*(f"{n}_compiled" for n in KERNELS), "character_kinds")
    ],
    main="groundup.tokenizer.compiled",
    libraries=("numba", "llvmlite", "numpy", "regex"),
)

announce: Callable[[str], None] = lambda text: None  # noqa: E731 - commands put a function here that tells people
_loaded: set[str] = set()


def folder() -> Path:
    """Where the compiled tokenizer is kept."""
    return CODE.folder


def is_ready() -> bool:
    """Is the code compiled, so that a process has it within a second?"""
    return CODE.is_ready()


def serves(n_bytes: int, n_bytes_in_all: int) -> bool:
    """Shall the compiled form take so much text, of so much until now? If it is not ready, a child compiles it."""
    if n_bytes < WORTH_CALLING or (not _loaded and n_bytes_in_all < WORTH_LOADING):
        return False
    if is_ready():
        return True
    if n_bytes_in_all >= WORTH_COMPILING:
        start()
    return False


def start() -> None:
    """Begin to compile in a child process, which goes on if this one ends. Once in a process."""
    if CODE.start():
        announce("compiling the fast tokenizer, once, for about 20 seconds; the plain one works meanwhile")


def ready(wait: bool = True) -> bool:
    """`is_ready`; if it is not and `wait`, compile here and now. False where numba or a cache folder is missing."""
    if not is_ready() and wait and not compiled_code.is_off():
        announce("compiling the fast tokenizer, once, for about 20 seconds")
        try:
            compile_all()
        except (EnvironmentFault, OSError, RuntimeError, ImportError, metadata.PackageNotFoundError) as error:
            announce(f"the fast tokenizer cannot be compiled, the plain one works: {error}")
    return is_ready()


def load(name: str) -> ModuleType:
    """A module that uses kernels, such as "encoder"."""
    module = CODE.load(name)
    _loaded.add(name)
    return module


def compile_all() -> None:
    """Compile every kernel by using it. Where another process is at it, wait for it."""
    CODE.compile(lambda: load("warm_up").run())


if __name__ == "__main__":
    compile_all()
