"""Numbers as people read them, and lines for a terminal of any width."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

TREE = r"[├└│─]+"


def width() -> int:
    """Columns of the terminal; without one, enough for everything."""
    return shutil.get_terminal_size((120, 24)).columns


def show(lines: Iterable[str], headings: str) -> None:
    """Prints lines. On a terminal with colours, what the pattern `headings` finds stands out, and trees do not."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        text = Text(line)
        text.highlight_regex(headings, "bold")
        text.highlight_regex(TREE, "dim")
        console.print(text)


def wrapped(text: str, indent: int = 0) -> Iterator[str]:
    """The lines of a text, the first as it is, the others indented."""
    yield from textwrap.wrap(text, min(width(), 120), subsequent_indent=" " * indent, break_on_hyphens=False)


def table(rows: Sequence[Sequence[str]], left: Sequence[int], gap: int = 2) -> Iterator[str]:
    """Lines of equal columns, those numbered in `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{n}}" if i in left else f"{cell:>{n}}" for i, (cell, n) in enumerate(zip(row, widths, strict=True))
        ]
        yield (" " * gap).join(cells).rstrip()


def count(number: float) -> str:
    """285M, 1.24B, 2.43T: three digits."""
    return _scaled(number, "KMBT", 1000)


def flops(number: float) -> str:
    """285 M, 1.24 G, 2.43 T: three digits and the letter of the unit."""
    return _scaled(number, "KMGTPE", 1000, " ") or "0"


def memory(n_bytes: float) -> str:
    """3.21 GiB"""
    return _scaled(n_bytes, "KMGTP", 1024, " ", "iB") if n_bytes >= 1024 else f"{n_bytes:.0f} B"


def _scaled(number: float, letters: str, base: int, gap: str = "", unit: str = "") -> str:
    power = 0
    while number >= 999.5 and power < len(letters):
        number /= base
        power += 1
    digits = f"{number:.2f}" if number < 9.995 else f"{number:.1f}" if number < 99.95 else f"{number:.0f}"
    return f"{digits}{gap}{letters[power - 1]}{unit}" if power else f"{number:.0f}"
