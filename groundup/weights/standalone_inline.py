"""Gathers what some definitions of ours need, from as many modules as it takes, into one text, leaf to whole.

A definition is a function, a class or a value at the top of a module, with the comment above it and the string below.
What it needs are the global names that it uses. Those that other modules of ours define are gathered too, those of the
standard library and of torch are imported. A shape, as in Float[Tensor, "B T"], stays where it is: to Python it is a
note beside the type, which needs no library (`typing.Annotated`).

    gather([("groundup.layers.feed_forward", "SwiGLU")])
    # imports torch; sections layers/softmax.py ... layers/linear.py, layers/feed_forward.py
"""

import ast
import builtins
import functools
import importlib.abc
import importlib.util
import io
import itertools
import re
import symtable
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from groundup.errors import GroundupError
from groundup.weights.standalone_fold import fold

OURS = "groundup"
SHAPES = "jaxtyping"
KNOWN = frozenset([*dir(builtins), "__file__", "__name__"])
WIDTH = 118
"""Columns of the words about a module, which become comments."""


class Name(NamedTuple):
    """A definition: where it stands and what it is called there."""

    module: str
    name: str


class Import(NamedTuple):
    """`from module import name as local`, or `import module as local` where there is no name."""

    module: str
    name: str
    local: str


class Definition(NamedTuple):
    """`lines` are those of its file, the first counted as 0 and the last left out."""

    text: str
    lines: tuple[int, int]
    uses: frozenset[str]
    is_value: bool


@dataclass
class Section:
    """What one module gives, in the order in which it stands there."""

    module: str
    doc: str
    text: str
    names: list[str]


@dataclass
class Gathered:
    """`imports` are lines of Python, sorted."""

    imports: list[str]
    sections: list[Section]


def gather(roots: Sequence[tuple[str, str]], instead: Mapping[str, str] | None = None) -> Gathered:
    """Everything that the roots need, and the roots, which are (module, name).

    `instead`: modules whose place others take, such as one family that of another.
    """
    gathering = _Gathering(instead or {})
    for root in roots:
        gathering.collect(gathering.origin(*root))
    gathering.sort()
    return Gathered(_import_lines(gathering.foreign), list(gathering.sections()))


class _Gathering:
    """`needed`: the names of each module; `order`: the modules, each after those it needs."""

    def __init__(self, instead: Mapping[str, str]):
        self.instead = instead
        self.needed: dict[str, set[str]] = {}
        self.foreign: set[Import] = set()
        self.order: list[str] = []

    def origin(self, module: str, name: str) -> Name:
        """Where a name of ours is defined, which may be further on than where it was imported from."""
        module = self.instead.get(module, module)
        source = read(module)
        if name in source.definitions:
            return Name(module, name)
        if source.is_ours(name):
            return self.origin(*source.imported[name])
        hint = "import functions and classes by their own names: from groundup.layers.masks import causal_mask"
        raise GroundupError(f"{name} is no function, class or value of {module}", hint=hint)

    def collect(self, at: Name) -> None:
        if at.name in self.needed.setdefault(at.module, set()):
            return
        self.needed[at.module].add(at.name)
        source = read(at.module)
        for name in sorted(source.definitions[at.name].uses):
            if name in source.definitions:
                self.collect(Name(at.module, name))
            elif source.is_ours(name):
                self.collect(self.origin(*source.imported[name]))
            elif name in source.imported:
                self.foreign.add(Import(*source.imported[name], name))
            elif name not in KNOWN:
                raise GroundupError(f"{name} is used in {at.module}.{at.name}, and defined nowhere that can be seen")

    def sort(self) -> None:
        for module in self.needed:
            self._put_after_its_needs(module)

    def _put_after_its_needs(self, module: str) -> None:
        """Depth first along the imports, in the order in which a module has them."""
        source = read(module)
        for name in source.imported:
            if name in self._used(module) and source.is_ours(name):
                self._put_after_its_needs(self.origin(*source.imported[name]).module)
        if module not in self.order:
            self.order.append(module)

    def _used(self, module: str) -> set[str]:
        return set().union(*(read(module).definitions[name].uses for name in self.needed[module]))

    def sections(self) -> Iterator[Section]:
        new_names = self._without_clashes()
        for module in self.order:
            source, names = read(module), self.needed[module]
            renamed = {name: new for (home, name), new in new_names.items() if home == module and new != name}
            aliases = []
            for name in sorted(self._used(module)):
                if source.is_ours(name):
                    origin = self.origin(*source.imported[name])
                    if new_names[origin] != origin.name:
                        renamed[name] = new_names[origin]
                    elif name != origin.name:
                        aliases.append(f"{name} = {origin.name}")
            text = "\n\n\n".join(filter(None, ["\n".join(aliases), _spaced(source, names, renamed)]))
            yield Section(module, _about(source, names), text, [name for name in source.definitions if name in names])

    def _without_clashes(self) -> dict[Name, str]:
        """The name of each definition in the one text: its own, or where that is taken, with its module's after it."""
        taken: dict[str, Name] = {}
        for module in self.order:
            for name in sorted(self.needed[module]):
                taken[name if name not in taken else f"{name}_of_{module.rpartition('.')[2]}"] = Name(module, name)
        return {at: new for new, at in taken.items()}


# --- one module ---


class Source:
    """A module as text: its definitions, folded, and where its other names come from."""

    def __init__(self, module: str, text: str):
        self.module = module
        self.lines = text.splitlines()
        tree = ast.parse(text)
        self.doc = ast.get_docstring(tree) or ""
        self.imported: dict[str, Name] = {}
        self.definitions: dict[str, Definition] = {}
        for statement in _at_top(tree):
            self._note_import(statement)
        for number, statement in enumerate(tree.body):
            for name in _defined_by(statement):
                self.definitions[name] = self._definition(statement, tree.body[number + 1 : number + 2])

    def _note_import(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            for alias in statement.names:
                self.imported[alias.asname or alias.name] = Name(statement.module, alias.name)
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                # `import a.b` binds a; `import a.b as c` binds c.
                name = alias.asname or alias.name.partition(".")[0]
                self.imported[name] = Name(alias.name, "")

    def _definition(self, statement: ast.stmt, following: Sequence[ast.stmt]) -> Definition:
        decorators = getattr(statement, "decorator_list", [])
        start = min([statement.lineno, *(decorator.lineno for decorator in decorators)]) - 1
        end = statement.end_lineno or statement.lineno
        while start and self.lines[start - 1].startswith("#"):
            start -= 1
        for below in following:
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):  # a string about a value
                end = below.end_lineno or end
        text = fold("\n".join(self.lines[start:end]))
        uses = frozenset(_globals(symtable.symtable(text, self.module, "exec")))
        return Definition(text, (start, end), uses, not isinstance(statement, ast.FunctionDef | ast.ClassDef))

    def is_ours(self, name: str) -> bool:
        """Whether a name is imported from another module of groundup."""
        return name in self.imported and self.imported[name].module.partition(".")[0] == OURS


@functools.cache
def read(module: str) -> Source:
    spec = importlib.util.find_spec(module)
    text = spec.loader.get_source(module) if spec and isinstance(spec.loader, importlib.abc.InspectLoader) else None
    if text is None:
        raise GroundupError(
            f"the source of {module} is not there to be read", hint="install groundup with its .py files"
        )
    return Source(module, text)


def _at_top(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module, with those that only type checkers execute."""
    for statement in tree.body:
        yield statement
        if isinstance(statement, ast.If):
            yield from statement.body


def _defined_by(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    names = [name for target in targets for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return [name.id for name in names if isinstance(name, ast.Name)]


def _globals(table: symtable.SymbolTable) -> Iterator[str]:
    """The names that a text takes from outside itself."""
    for symbol in table.get_symbols():
        is_outside = symbol.is_global() if table.get_type() != "module" else not symbol.is_assigned()
        if symbol.is_referenced() and is_outside:
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals(child)


# --- the text of a section ---


def _spaced(source: Source, names: set[str], renamed: Mapping[str, str]) -> str:
    """Two empty lines around functions and classes; between values as many as there are in their file, at most one."""
    text = ""
    before: Definition | None = None
    for definition in sorted({source.definitions[name] for name in names}, key=lambda definition: definition.lines):
        if before is not None:
            gap = min(1, definition.lines[0] - before.lines[1])
            text += "\n" * (1 + gap if definition.is_value and before.is_value else 3)
        text += _renamed(definition.text, renamed)
        before = definition
    return text


def _renamed(text: str, new_by_old: Mapping[str, str]) -> str:
    """The text with other names for some of its own; an attribute of the same name is not meant."""
    if not new_by_old:
        return text
    lines = text.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for before, token in reversed(list(itertools.pairwise(tokens))):
        if token.type == tokenize.NAME and token.string in new_by_old and before.string != ".":
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new_by_old[token.string] + line[column + len(token.string) :]
    return "".join(lines)


# --- imports ---


def _import_lines(imports: set[Import]) -> list[str]:
    """Sorted as our own files have them: the standard library, an empty line, torch; whole modules first."""
    by_module: dict[str, list[str]] = {}
    lines = []
    for at in sorted(imports, key=lambda at: (at.module, not at.name[:1].isupper(), at.name.lower(), at.local)):
        if at.module == SHAPES:
            lines.append(f"from typing import Annotated as {at.local}")
        elif not at.name:
            renamed = at.local != at.module.partition(".")[0]
            lines.append(f"import {at.module}" + (f" as {at.local}" if renamed else ""))
        elif at.name != at.local:
            lines.append(f"from {at.module} import {at.name} as {at.local}")
        else:
            by_module.setdefault(at.module, []).append(at.name)
    lines += [f"from {module} import {', '.join(names)}" for module, names in by_module.items()]
    lines.sort(key=lambda line: (line.startswith("from"), line.split()[1], " as " not in line))
    torch = [line for line in lines if line.split()[1].partition(".")[0] == "torch"]
    return [*(line for line in lines if line not in torch), "", *torch]


# --- what a section is about ---


def _about(source: Source, names: set[str]) -> str:
    """The docstring of a module, but for sentences about what was not gathered; drawings and tables stay."""
    absent = (set(source.definitions) | set(source.imported)) - names
    patterns = [*(rf"`{name}`" for name in absent), *(rf"\b{name}\b" for name in absent if name.isupper())]
    is_about_absent = re.compile("|".join(patterns) or "(?!)")
    paragraphs = []
    for paragraph in source.doc.split("\n\n"):
        is_drawing = re.search(r"(?m)^[ |]", paragraph)
        sentences = re.split(r"(?<=\.) +(?=[A-Z`])", " ".join(paragraph.split()))
        kept = [sentence for sentence in sentences if not is_about_absent.search(sentence)]
        is_as_it_was = len(kept) == len(sentences) and all(len(line) <= WIDTH for line in paragraph.splitlines())
        if not is_drawing and not is_as_it_was:
            paragraph = textwrap.fill(" ".join(kept), WIDTH, break_on_hyphens=False)
        paragraphs.append(paragraph)
    return "\n\n".join(filter(None, paragraphs))
