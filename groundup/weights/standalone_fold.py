"""Our source, with one of its two forms taken out: what single files show of each layer is what runs.

Every layer has a textbook and a fused form (layers/kernels.py). A single file has no such choice, so the fused form is
kept, and with it goes whatever chose: the parameter `kernels`, the branches, and what only training asks for, such as
starting weights.

    def silu(x, kernels="fused"):              def silu(x):
        if is_fused(kernels):                      return F.silu(x)
            return F.silu(x)
        return x / (1 + torch.exp(-x))

It edits the text, not a tree, so comments and line breaks stay as they were written; one edit at a time, and the text
is parsed anew after each, until there is nothing left to do.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CHOSEN = {
    "is_fused()": True,
    "self.is_fused": True,
    # Ways of our own for training on a CPU. PyTorch's operations have gradients too.
    "torch.is_grad_enabled()": False,
    "is_best_by_products()": False,
}
"""Conditions of our source whose answer is known, as they are written there, but for what stands between brackets."""

CHOICE = ("kernels", "is_fused")
"""Parameters and attributes that only carry the choice about."""

TYPE_OF_CHOICE = "Kernels"
NEEDLESS = "initialise"
"""What gives a whole model its starting weights; those of a single file are read."""
WIDTH = 120
"""Columns of a line of ours: what a shorter text leaves room for is put on one line again, as the formatter has it."""


class Edit(NamedTuple):
    """The bytes from `start` to `end` give way to `text`."""

    start: int
    end: int
    text: str = ""


def fold(source: str) -> str:
    """The text of some definitions, without the choice between two forms."""
    while edit := next(_edits(source), None):
        data = source.encode()
        source = (data[: edit.start] + edit.text.encode() + data[edit.end :]).decode()
    source = re.sub(r"  # (pyright|type|noqa)\b.*", "", source)
    source = re.sub(r"\n{3,}(?= )", "\n\n", source)
    return _joined(source).strip("\n")


class _Positions:
    """Where the nodes of a tree stand in its text, in bytes."""

    def __init__(self, source: str):
        self.data = source.encode()
        self.lines = [0]
        for line in self.data.splitlines(keepends=True):
            self.lines.append(self.lines[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.lines[node.lineno - 1] + node.col_offset, self.lines[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def whole_lines(self, first: ast.stmt, last: ast.stmt) -> tuple[int, int]:
        """The lines of some statements, with the comments right above them."""
        begin, end = first.lineno - 1, last.end_lineno or last.lineno
        while begin and self.data[self.lines[begin - 1] : self.lines[begin]].lstrip().startswith(b"#"):
            begin -= 1
        return self.lines[begin], self.lines[min(end, len(self.lines) - 1)]


def _edits(source: str) -> Iterator[Edit]:
    """What can be done next; only the first is of use, since it moves everything behind it."""
    tree, at = ast.parse(source), _Positions(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            yield from _without_parameter(node, at)
        if isinstance(node, ast.Call):
            yield from _without_argument(node, at)
        if isinstance(node, ast.List):
            types = [item for item in node.elts if isinstance(item, ast.Name) and item.id == TYPE_OF_CHOICE]
            yield from (_taken_out(item, at) for item in types)
        if isinstance(node, ast.IfExp) and (answer := _answer(node.test)) is not None:
            yield Edit(*at.span(node), at.text(node.body if answer else node.orelse))
        for block in _blocks(node):
            yield from _shorter(block, at)


# --- the parameter and what is passed for it ---


def _without_parameter(function: ast.FunctionDef | ast.Lambda, at: _Positions) -> Iterator[Edit]:
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults, *arguments.kw_defaults]
    for one, default in zip([*plain, *arguments.kwonlyargs], defaults, strict=True):
        if one.arg in CHOICE:
            yield _taken_out(one, at, default, with_star=[one] == arguments.kwonlyargs)


def _without_argument(call: ast.Call, at: _Positions) -> Iterator[Edit]:
    for value in call.args:
        name = value.id if isinstance(value, ast.Name) else value.attr if isinstance(value, ast.Attribute) else ""
        if name in CHOICE and _answer(call) is None:
            yield _taken_out(value, at)
    for keyword in call.keywords:
        if keyword.arg in CHOICE:
            yield _taken_out(keyword, at)


def _taken_out(
    item: ast.expr | ast.arg | ast.keyword, at: _Positions, default: ast.expr | None = None, with_star: bool = False
) -> Edit:
    """One item of a list, with the comma that parts it from its neighbour."""
    start, end = at.span(item)  # pyright: ignore[reportArgumentType]
    if default is not None:
        end = at.span(default)[1]
    after = re.match(rb",\s*(?=[^\s\])}])", at.data[end:])
    if after and not with_star:
        return Edit(start, end + after.end())
    before = re.search(rb",\s*(\*,\s*)?$" if with_star else rb",\s*$", at.data[:start])
    return Edit(before.start() if before else start, end)


# --- branches ---


def _answer(test: ast.expr) -> bool | None:
    """What a condition comes to, if that is known."""
    if isinstance(test, ast.Constant) and isinstance(test.value, bool):
        return test.value
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _answer(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        answers = [_answer(value) for value in test.values]
        decides = isinstance(test.op, ast.Or)
        if decides in answers:
            return decides
        return None if None in answers else not decides
    return CHOSEN.get(f"{ast.unparse(test.func)}()" if isinstance(test, ast.Call) else ast.unparse(test))


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
            yield block


def _shorter(block: Sequence[ast.stmt], at: _Positions) -> Iterator[Edit]:
    """Without branches that are never or always taken, what follows a return, and statements that nothing needs."""
    for number, statement in enumerate(block):
        if isinstance(statement, ast.Return | ast.Raise) and number + 1 < len(block):
            yield Edit(*at.whole_lines(block[number + 1], block[-1]))
        if _is_needless(statement):
            yield Edit(*at.whole_lines(statement, statement))
        if isinstance(statement, ast.If) and (answer := _answer(statement.test)) is not None:
            kept = statement.body if answer else statement.orelse
            yield Edit(*at.whole_lines(statement, statement), _dedented(kept, at) if kept else "")


def _is_needless(statement: ast.stmt) -> bool:
    """self.kernels = kernels; initialise(self)"""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return any(isinstance(target, ast.Attribute) and target.attr in CHOICE for target in targets)
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and ast.unparse(call.func) == NEEDLESS


def _dedented(block: Sequence[ast.stmt], at: _Positions) -> str:
    start, end = at.whole_lines(block[0], block[-1])
    lines = at.data[start:end].decode().splitlines(keepends=True)
    return "".join(line.removeprefix("    ") for line in lines)


# --- lines that have become short ---


def _joined(source: str) -> str:
    """What stands between brackets on lines of its own, back on the line of the brackets where there is room now.

    A comma at the end of a line, or a comment, keeps lines apart.
    """
    lines = source.split("\n")
    for first in reversed(range(len(lines))):
        for last in range(first + 2, min(first + 6, len(lines))):
            inside = [line.strip() for line in lines[first + 1 : last]]
            is_open = lines[first].endswith(("(", "[", "{")) and re.match(r" *[)\]}]", lines[last])
            one = lines[first] + " ".join(inside) + lines[last].strip()
            if is_open and len(one) <= WIDTH and not re.search(r"[,(\[{]$|#", "\n".join(inside), re.MULTILINE):
                lines[first : last + 1] = [one]
                break
    return "\n".join(lines)
