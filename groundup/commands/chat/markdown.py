"""Markdown on a terminal while it is still being written.

A line is drawn as soon as it begins, and drawn anew when more of the text shows that it means something else: two
stars become bold where they are closed, rows of bars become a table. What follows a finished paragraph, list or table
cannot change it any more, so only the last block is ever drawn again, and of that only the lines that differ. No word
is lost: HTML, links' addresses and line ends, which Markdown hides or joins, stay what was written.
"""

import functools
import re
import time
from collections.abc import Iterable
from typing import Any

from rich import markdown
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from groundup.inference.text_stream import printable

SECONDS_BETWEEN = 1 / 30
"""Between two drawings; a model that is faster than this is not kept waiting."""

# Rules that would hide a part of the text, or turn indented and underlined prose into code and headings.
NOT_READ = ["html_block", "html_inline", "reference", "image", "code", "lheading"]
# Colours that can be read on a dark and on a light ground.
THEME = Theme(
    {
        "markdown.code": "cyan",
        "markdown.code_block": "default",
        "markdown.h1": "bold underline",
        "markdown.h2": "bold",
        "markdown.h3": "bold",
        "markdown.h4": "bold",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
        "markdown.link_url": "underline",
        "markdown.block_quote": "italic",
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
_PADDING = re.compile(r" +((?:\x1b\[0?m)?)$")
_NOTHING = re.compile(r"(\s|\x1b\[[0-9;]*m)*")


def is_possible(console: Console) -> bool:
    """Can lines be drawn anew there?"""
    return console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows


class Writer:
    """Shows a text that comes in pieces. The cursor stands at its end, and after `end` below it."""

    def __init__(self, console: Console):
        self._console = console
        self._text = ""
        """Of the last block only, once there are several."""
        self._is_first = True
        self._drawn: list[str] = []
        """The lines of the last block that stand on the screen."""
        self._last = -SECONDS_BETWEEN

    def push(self, piece: str) -> None:
        self._text += printable(piece)
        if time.monotonic() - self._last >= SECONDS_BETWEEN:
            self._draw()
            self._last = time.monotonic()

    def end(self) -> None:
        self._draw()
        self._console.file.write("\n")
        self._console.file.flush()

    def _draw(self) -> None:
        *finished, self._text = blocks(self._text)
        for block in finished:
            self._redraw(self._lines(block))
            self._console.file.write("\n")
            self._drawn, self._is_first = [], False
        self._redraw(self._lines(self._text))
        self._console.file.flush()

    def _lines(self, text: str) -> list[str]:
        with self._console.capture() as captured:
            # The last column stays free: terminals do not agree on where the cursor is after a letter there.
            self._console.print(Markdown(text), width=max(1, self._console.width - 1))
        lines = ["" if _NOTHING.fullmatch(line) else _PADDING.sub(r"\1", line) for line in captured.get().split("\n")]
        while lines and not lines[-1]:
            lines.pop()
        while lines and not lines[0]:  # rich has one above some blocks; here it stands between all, and above none
            lines.pop(0)
        return lines if self._is_first or not lines else ["", *lines]

    def _redraw(self, lines: list[str]) -> None:
        """From the first line that differs; what has left the screen at its top stays as it is."""
        n_gone = len(self._drawn) - (self._console.height - 1)
        start = max(_n_same(self._drawn, lines), n_gone, 0)
        if len(lines) < len(self._drawn):
            start = max(0, min(start, len(lines) - 1))  # the cursor has to come back to the end of the last line
        new = "\n".join(lines[start:])
        if lines[start:] and start == len(self._drawn) - 1 and lines[start].startswith(self._drawn[start]):
            new = new[len(self._drawn[start]) :]  # most of the time: the line only goes on
        elif start < len(self._drawn):
            up = len(self._drawn) - 1 - start
            new = "\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J" + new
        elif self._drawn and start < len(lines):
            new = "\n" + new
        self._console.file.write(new)
        self._drawn = lines


def blocks(text: str) -> list[str]:
    """Its paragraphs, lists, tables and so on, at least one; more text can change only the last."""
    starts = [token.map[0] for token in parsed(text) if token.level == 0 and token.map and token.nesting >= 0]
    lines = text.split("\n")
    borders = [0, *starts[1:], len(lines)]
    return ["\n".join(lines[a:b]) for a, b in zip(borders, borders[1:], strict=False)]


def parsed(text: str) -> list[Any]:
    """The text as markdown-it's tokens."""
    return _parser().parse(text)


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt  # rich brings it along

    return MarkdownIt("commonmark").enable(["strikethrough", "table"]).disable(NOT_READ)


class _Heading(markdown.Heading):
    """To the left and without a box."""

    def __rich_console__(self, console: Console, options: Any) -> Iterable[Any]:
        text = self.text.copy()
        text.justify = "left"
        yield text


class _CodeBlock(markdown.CodeBlock):
    """Indented, without a box: what is copied from the terminal is the code. Its language stands above."""

    def __init__(self, lexer_name: str, theme: str, info: str):
        super().__init__(lexer_name, theme)
        self.info = info

    @classmethod
    def create(cls, markdown: Any, token: Any) -> "_CodeBlock":
        info = token.info.strip()
        return cls(info.partition(" ")[0] or "text", markdown.code_theme, info)

    def __rich_console__(self, console: Console, options: Any) -> Iterable[Any]:
        code = str(self.text).rstrip()
        highlighted = Syntax(code, self.lexer_name, theme="ansi_dark", background_color="default").highlight(code)
        highlighted.rstrip()
        if self.info:
            yield Padding(Text(self.info, "dim"), (0, 0, 0, 2))
        yield Padding(highlighted, (0, 0, 0, 2))


class Markdown(markdown.Markdown):
    """Rich's, with line ends kept and nothing hidden."""

    elements = markdown.Markdown.elements | {"heading_open": _Heading, "fence": _CodeBlock}

    def __init__(self, text: str):
        super().__init__("", hyperlinks=False)
        self.markup = text
        self.parsed = parsed(text)
        for token in self.parsed:
            for child in token.children or ():
                if child.type == "softbreak":
                    child.type = "hardbreak"


def _n_same(a: list[str], b: list[str]) -> int:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n
