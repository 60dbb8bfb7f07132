"""The compiled engine's code on disk: one part for each kind that weights are kept as, made when it is first needed.

`python -m groundup.inference.compiled.code KIND` compiles it now.
"""

import sys
from pathlib import Path
from typing import Any

from groundup.compiled_code import CompiledCode, take_only

HERE = Path(__file__).parent

CODE = CompiledCode(
    "groundup.inference.compiled",
    lambda: sorted(HERE.glob("*.py")),
    main="groundup.inference.compiled.code",
    libraries=("numba", "llvmlite", "numpy"),
)


def load_runner() -> Any:
    """The module runner.py, whose kernels are taken from the folder without numba's whole compiler."""
    runner: Any = CODE.load("runner")
    for value in (*vars(runner).values(), *vars(runner.kernels).values()):
        take_only(value)
    return runner


def compile_kind(kind: str) -> None:
    """Compile what a model needs whose matrices are kept as `kind`, by running a very small one."""
    CODE.compile(lambda: use(kind), part=f"-{kind}")


def use(kind: str) -> None:
    """A pass with one id and one with several, on two threads."""
    from groundup.inference.compiled import weights
    from groundup.inference.runner import Work

    runner = load_runner()
    model = runner.CompiledRunner(*weights.smallest(kind), n_threads=2)
    state = model.open()
    for ids in ([1], [1, 2, 3]):
        model.run([Work(state, ids)])


if __name__ == "__main__":
    compile_kind(sys.argv[1].removeprefix("-"))
