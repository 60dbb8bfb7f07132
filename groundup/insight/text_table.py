"""A table of plain text: columns as wide as their content, the same on a screen and in a pipe."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of equal columns: the first to the left, the others to the right. Wide characters count as two."""
    lines = [header, *rows]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join("  ".join(_padded(line, widths)).rstrip() for line in lines)


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for i, (cell, width) in enumerate(zip(line, widths, strict=True)):
        space = " " * (width - cell_len(cell))
        yield cell + space if i == 0 else space + cell
