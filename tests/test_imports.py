"""The house rules of DESIGN 1, read off the source: who may import whom, and what only a textbook form may do."""

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "groundup"

# A room imports only from rooms further up this list; rooms of one line are neighbours and do not know each other.
ORDER = [
    ("errors",), ("config", "artifact"), ("compiled_code",), ("text",), ("tokenizer",), ("data",), ("layers",),
    ("models",), ("optim",), ("weights",), ("inference",), ("train",), ("evaluate",), ("insight",), ("serve",),
    ("commands",), ("api", "cli"),
]  # fmt: skip
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
TORCH_FREE = ("errors", "config", "artifact", "compiled_code", "text", "tokenizer", "cli")

# (who, never imports, why). Names are prefixes of dotted module names.
BANS = [
    ("train", ("groundup.models", "groundup.data.schemas"), "train is handed a model, batches and a loss"),
    ("serve", ("groundup.train", "groundup.optim"), "serving needs no optimizer"),
    ("inference", ("groundup.train", "groundup.optim"), "inference needs no optimizer"),
    *((room, ("torch",), "it starts at once, on machines without torch") for room in TORCH_FREE),
    *(
        (room, ("transformers", "tokenizers", "peft"), "other libraries judge us in tests and do not do our work")
        for room in RANK
        if room not in ("insight", "commands", "api", "cli", "errors", "config", "artifact", "serve")
    ),
]
# Commands that call the public run(config) of other commands, or are told all that another one is.
CALLS_OTHER_COMMANDS = {"demo", "runs", "plan"}
# Modules that talk to people.
TALKS = re.compile(r"commands\.|serve\.|train\.watch$|cli$")

# Operations that exist here in textbook form, and the one place where the library's fused twin stands beside each.
WRITTEN_OUT = {
    "Linear", "Embedding", "LayerNorm", "RMSNorm", "Softmax", "LogSoftmax", "SiLU", "GELU", "CrossEntropyLoss",
    "MultiheadAttention", "softmax", "cross_entropy", "silu", "gelu", "layer_norm", "rms_norm",
    "scaled_dot_product_attention", "multi_head_attention_forward", "clip_grad_norm_",
}  # fmt: skip
FUSED_TWINS = {
    "layers.activations": {"silu", "gelu"},
    "layers.attention": {"scaled_dot_product_attention", "softmax"},
    "layers.loss": {"cross_entropy"},
    "layers.norms": {"layer_norm", "rms_norm"},
}


class Import(NamedTuple):
    module: str  # the importing module, without the package's name: "layers.rope"
    line: int
    imported: str  # "torch.nn", "groundup.errors.UsageError"
    at_top: bool  # executed when the module is imported

    @property
    def room(self) -> str:
        return self.module.partition(".")[0]


@functools.cache
def modules() -> dict[str, ast.Module]:
    files = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {
        name.removesuffix("/__init__").replace("/", "."): ast.parse(path.read_text())
        for name, path in files.items()
        if name not in ("__init__", "__main__")
    }


@functools.cache
def imports() -> tuple[Import, ...]:
    return tuple(_imports())


def _imports() -> Iterator[Import]:
    for module, tree in modules().items():
        at_top = set(map(id, _executed_on_import(tree)))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module}:{node.lineno} imports relatively; write the whole name"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                yield Import(module, node.lineno, name, id(node) in at_top)


def _executed_on_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_for_types_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not is_for_types_only:
            yield child
            yield from _executed_on_import(child)


def said(found: list[Import]) -> str:
    return "\n".join(f"groundup/{item.module}:{item.line} imports {item.imported}" for item in found)


def starts(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def test_every_room_has_its_place() -> None:
    assert {name.partition(".")[0] for name in modules()} <= set(RANK)


def test_a_room_imports_only_from_its_left() -> None:
    wrong = []
    for item in imports():
        if item.imported.startswith("groundup."):
            room = item.imported.split(".")[1]
            if room in RANK and room != item.room and RANK[room] >= RANK[item.room]:
                wrong.append(item)
    assert not wrong, said(wrong)


def test_what_is_never_imported() -> None:
    wrong = [(item, why) for item in imports() for room, banned, why in BANS
             if item.room == room and starts(item.imported, banned)]  # fmt: skip
    assert not wrong, "\n".join(f"{said([item])}: {why}" for item, why in wrong)


def test_layers_and_models_are_portable_alone() -> None:
    allowed = ("torch", "jaxtyping", *sys.stdlib_module_names)
    wrong = [
        item
        for item in imports()
        if item.room in ("layers", "models")
        and not starts(item.imported, (*allowed, "groundup.layers", f"groundup.{item.room}"))
    ]
    assert not wrong, said(wrong)


def test_no_command_imports_another() -> None:
    wrong = [
        item
        for item in imports()
        if item.room == "commands"
        and starts(item.imported, ("groundup.commands",))
        and not starts(f"groundup.{item.module}", (".".join(item.imported.split(".")[:3]),))  # files of one verb
        and not item.imported.startswith("groundup.commands._")  # what stages share is no command
        and item.module.split(".")[1] not in CALLS_OTHER_COMMANDS
    ]
    assert not wrong, said(wrong)


def test_optional_libraries_wait_until_they_are_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    optional = tuple(re.split(r"[<>=\[;]", line)[0].replace("-", "_") for line in extras)
    wrong = [item for item in imports() if item.at_top and starts(item.imported, (*optional, "gguf"))]
    assert not wrong, said(wrong)


def test_what_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = tuple(re.split(r"[<>=\[;]", line)[0].replace("-", "_") for line in project["dependencies"])
    known = ("groundup", *declared, *sys.stdlib_module_names)
    wrong = [item for item in imports() if item.at_top and not starts(item.imported, known)]
    assert not wrong, said(wrong)
    used = {item.imported.partition(".")[0] for item in imports()}
    assert not set(declared) - used, "declared as dependencies and imported nowhere"


def test_the_compiled_engine_takes_no_torch() -> None:
    wrong = [
        item for item in imports() if item.module.startswith("inference.compiled") and starts(item.imported, ("torch",))
    ]
    assert not wrong, said(wrong)


def test_numba_stands_in_files_of_its_own() -> None:
    # compiled_code.py tells numba where to keep what it compiles.
    allowed = ("_compiled", "compiled_code")
    wrong = [item for item in imports() if starts(item.imported, ("numba",)) and not item.module.endswith(allowed)]
    assert not wrong, said(wrong)


def test_library_code_prints_nothing() -> None:
    wrong = [
        f"groundup/{module}:{node.lineno}"
        for module, tree in modules().items()
        if not TALKS.match(module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "Console")
    ]
    assert not wrong, wrong


def library_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) of what a module takes from torch, spelt `nn.Linear` or `from torch.nn import Linear`."""
    roots = {"torch"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            roots |= {alias.asname for alias in node.names if alias.asname and starts(alias.name, ("torch",))}
        elif isinstance(node, ast.ImportFrom) and starts(node.module or "", ("torch",)):
            roots |= {alias.asname or alias.name for alias in node.names}
            yield from ((node.lineno, alias.name) for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node).partition(".")[0] in roots:
            yield node.lineno, node.attr


def test_the_textbook_is_written_out() -> None:
    wrong = [
        f"groundup/{module}:{line} takes {name} from torch"
        for module, tree in modules().items()
        for line, name in library_calls(tree)
        if name in WRITTEN_OUT - FUSED_TWINS.get(module, set())
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "code",
    [
        "import torch.nn as nn\nnn.Linear(2, 2)",
        "import torch.nn.functional as F\nF.softmax(x)",
        "import torch\ntorch.nn.Embedding",
        "from torch.nn import LayerNorm",
        "from torch import nn\nnn.functional.silu(x)",
    ],
)
def test_the_ban_sees_every_spelling(code: str) -> None:
    assert {name for _, name in library_calls(ast.parse(code))} & WRITTEN_OUT


def test_torch_free_rooms_work_without_torch() -> None:
    rooms = [name for name in modules() if name.partition(".")[0] in TORCH_FREE]
    code = f"""
import importlib, json, sys
sys.modules["torch"] = None  # any import of it fails, also one inside another library
for name in {rooms!r}:
    importlib.import_module("groundup." + name)
from groundup import cli
codes = [cli.main(["--help"])]
for name in cli.verb_files():
    codes.append(cli.main([name, "--help"]))
print(json.dumps(codes), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stderr.splitlines()[-1])) == {0}, done.stderr


def test_importing_groundup_imports_nothing_heavy() -> None:
    code = "import sys, groundup; print(sorted({'torch', 'numpy', 'cyclopts', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
