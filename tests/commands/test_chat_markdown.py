"""Markdown while it comes: whatever the pieces, the screen ends as if all had come at once, and no word is lost."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from groundup.commands.chat import markdown
from groundup.commands.chat.markdown import THEME, Markdown, Writer, blocks

TEXT = """# A title

Some **bold words**, `code`, a [link](https://example.org) and <b>HTML</b> that wraps over lines because it is long.
Second line.

1. one
2. two with *stress*
   - inner

```python
def f(x):
    return "a" + x  # a comment
```

| a | b |
|---|---|
| 1 | 22 |

> quoted

The end."""


class Screen:
    """What a terminal of a given width shows of lines, line ends, cursor movements and erasures; styles left out."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.lines, self.row, self.column = [""], 0, 0

    def write(self, text: str) -> None:
        for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\|.|\n", text):
            if part.startswith("\x1b"):
                self._do(part)
            elif part == "\r":
                self.column = 0
            elif part == "\n":
                self.row, self.column = self.row + 1, 0
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                line = self.lines[self.row].ljust(self.column)
                assert self.column < self.width, "a line is longer than the screen is wide"
                self.lines[self.row] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1

    def _do(self, code: str) -> None:
        if code.endswith("A"):
            self.row -= int(code[2:-1])
            assert self.row >= len(self.lines) - self.height, "above the top of the screen"
        elif code == "\x1b[J":
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        else:
            assert code.endswith("m"), code

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


def console(file, width: int = 40, height: int = 100, **options) -> Console:
    return Console(
        file=file, width=width, height=height, force_terminal=True, theme=THEME, highlight=False,
        color_system="standard", legacy_windows=False, **options,
    )  # fmt: skip


def written(pieces: list[str], width: int = 40, height: int = 100) -> Screen:
    screen = Screen(width, height)
    writer = Writer(console(screen, width, height))
    for piece in pieces:
        writer.push(piece)
    writer.end()
    return screen


def at_once(text: str, width: int = 40) -> str:
    with (made := console(io.StringIO(), width)).capture() as captured:
        made.print(Markdown(text), width=width - 1)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", captured.get())
    text = "\n".join(line.rstrip() for line in plain.split("\n")).rstrip("\n")
    return re.sub(r"\n{3,}", "\n\n", text)  # a table brings blank lines of its own


@pytest.fixture(autouse=True)
def _every_piece_is_drawn(monkeypatch):
    monkeypatch.setattr(markdown, "SECONDS_BETWEEN", 0)


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
@pytest.mark.parametrize("width", [20, 40, 80])
def test_the_screen_ends_as_if_all_had_come_at_once(size, width):
    pieces = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    screen = written(pieces, width)
    assert screen.text == at_once(TEXT, width)
    assert (screen.row, screen.column) == (len(screen.text.split("\n")), 0), "the cursor stands below"


def test_it_looks_like_this():
    shown = written([TEXT], 60).text
    assert "A title" in shown and "#" not in shown.split("\n")[0]
    assert "bold words" in shown and "**" not in shown
    assert " 1 one" in shown
    assert '  def f(x):\n      return "a" + x  # a comment' in shown
    assert "link (https://example.org)" in shown
    assert "<b>HTML</b>" in shown
    assert "Second line." in shown.split("\n")[shown.split("\n").index("Second line.")], "a line end is kept"


def test_the_first_piece_is_shown_at_once(monkeypatch):
    monkeypatch.setattr(markdown, "SECONDS_BETWEEN", 1000)
    screen = Screen(40, 100)
    writer = Writer(console(screen))
    writer.push("Hel")
    assert screen.text == "Hel"
    writer.push("lo **you**")
    assert screen.text == "Hel", "what comes quickly waits for the next drawing"
    writer.end()
    assert screen.text == "Hello you"


MARKS = st.sampled_from(
    ["a", "bc", " ", "\n", "\n\n", "* ", "**", "`", "```", "# ", "> ", "1. ", "|", "-", "é", "你", "[x]", "<p>"]
)


@given(st.lists(MARKS, max_size=25), st.integers(1, 5))
def test_no_pieces_break_it(marks, size):
    text = "".join(marks)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    one, all_ = written(pieces, 20), written([text], 20)
    assert re.findall(r"[a-zé你]", one.text) == re.findall(r"[a-zé你]", all_.text) == re.findall(r"[a-zé你]", text)


def test_a_block_taller_than_the_screen_never_moves_above_its_top():
    code = "```\n" + "\n".join(f"line {n}" for n in range(60)) + "\n```\nafter"
    screen = written([code[at : at + 2] for at in range(0, len(code), 2)], 40, height=10)
    assert screen.text.split() == [word for n in range(60) for word in ("line", str(n))] + ["after"]


def test_control_characters_do_not_reach_the_terminal():
    assert written(["a\x1b[2Jb\x07\x9b3Jc"]).text == "a[2Jb3Jc"


def test_blocks_are_told_apart():
    assert blocks("one\n\ntwo\nthree") == ["one\n", "two\nthree"]
    assert blocks("one") == ["one"]
    assert blocks("") == [""]
    assert blocks("```\na\n\nb") == ["```\na\n\nb"], "an open block of code is one block"
    assert blocks("- a\n- b\n\nc\n\n# d") == ["- a\n- b\n", "c\n", "# d"]


def test_where_lines_cannot_be_drawn_anew():
    assert not markdown.is_possible(Console(file=io.StringIO()))
    assert not markdown.is_possible(Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"}))
    assert markdown.is_possible(console(io.StringIO(), _environ={"TERM": "xterm"}))
