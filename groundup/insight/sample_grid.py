"""Prompts × settings: what a model makes of each prompt with each set of settings, side by side.

    # grid.toml
    prompts = ["Once upon a time", "The old fox"]
    n = 2                                # texts of each

    [settings.careful]                   # a column, by name
    temperature = 0.3
    [settings.wild]
    temperature = 1.2

    [vary]                               # or columns for all combinations of these
    temperature = [0.0, 0.7, 1.2]
    top_p = [0.9, 1.0]

What a column does not say is as on the command line. The page shows, beside the texts, how much they repeat themselves.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from statistics import fmean
from typing import Any

from groundup import config as configs
from groundup.errors import UsageError
from groundup.inference.settings import Settings
from groundup.inference.text_stream import Completion
from groundup.insight import page


@dataclass(frozen=True)
class Grid:
    """The content of a grid's file."""

    prompts: tuple[str, ...]
    """the texts to continue"""
    n: int = 1
    """how many texts of each prompt with each settings"""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """settings by the name of their column"""
    vary: dict[str, list[Any]] = field(default_factory=dict)
    """values by the name of a setting; all combinations are columns"""


@dataclass(frozen=True)
class Column:
    name: str
    changes: dict[str, Any]
    """What it sets, of all settings."""
    settings: Settings


@dataclass(frozen=True)
class Cell:
    """The texts of one prompt with one column's settings."""

    prompt: str
    column: Column
    completions: Sequence[Completion]


def read(path: Path | str) -> Grid:
    """UsageError for a file that cannot be read, or that asks for nothing."""
    grid = configs.load(Grid, file=Path(path)).config
    if not grid.prompts:
        raise UsageError("the grid has no prompts", where=str(path), hint='prompts = ["Once upon a time"]')
    if grid.n < 1:
        raise UsageError(f"n is {grid.n}, and it has to be at least 1", where=str(path))
    if not grid.settings and not grid.vary:
        hint = "write [settings.NAME] tables, or lists such as temperature = [0.5, 1.0] under [vary]"
        raise UsageError("the grid has no settings", where=str(path), hint=hint)
    return grid


def columns(grid: Grid, base: Settings, where: str) -> list[Column]:
    """The grid's columns over the settings of the command line, strictly: UsageError for what cannot be set."""
    by_name = dict(grid.settings)
    for name, values in grid.vary.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"vary.{name} is not a list of values", where=where, hint=f"{name} = [..., ...]")
    for values in itertools.product(*grid.vary.values()) if grid.vary else ():
        changes = dict(zip(grid.vary, values, strict=True))
        by_name[", ".join(f"{name} {value}" for name, value in changes.items())] = changes
    plain = configs.to_dict(base)
    return [
        Column(name, changes, configs.from_dict(Settings, plain | changes, f"{where}, {name}"))
        for name, changes in by_name.items()
    ]


# --- the page ---


def rows(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """For each column: its name, what it sets, and means over its texts."""
    by_column: dict[str, list[Cell]] = {}
    for cell in cells:
        by_column.setdefault(cell.column.name, []).append(cell)
    found = []
    for name, group in by_column.items():
        texts = [text for cell in group for text in cell.completions]
        ended = sum(text.finish_reason == "stop" for text in texts) / len(texts)
        found.append(
            (
                name,
                _said(group[0].column.changes),
                f"{fmean(text.n_tokens for text in texts):.0f}",
                f"{fmean(text.repeated_4grams for text in texts):.1%}",
                f"{ended:.0%}",
            )
        )
    return found


HEADER = ("column", "settings", "tokens", "repeated 4-grams", "came to an end")


def to_markdown(title: str, about: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """A page for a repository or a notebook. The texts are quoted, and none of their letters is markup."""
    lines = [f"# {_plain(title)}", "", ", ".join(f"{name} {_plain(str(value))}" for name, value in about.items()), ""]
    lines += [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    lines += [f"| {' | '.join(map(_plain, row))} |" for row in rows(cells)]
    for prompt, group in itertools.groupby(cells, key=lambda cell: cell.prompt):
        lines += ["", f"## {_plain(_one_line(prompt))}"]
        for cell in group:
            lines += ["", f"### {_plain(cell.column.name)}"]
            for text in cell.completions:
                lines += ["", *_quoted(prompt, text), "", f"*{_facts(text)}*"]
    return "\n".join(lines) + "\n"


def to_html(title: str, about: Mapping[str, Any], cells: Sequence[Cell]) -> str:
    """The same as a page that opens anywhere."""
    said = " · ".join(f"{name} {value}" for name, value in about.items())
    parts = [f'<h1>{escape(title)}</h1><p class="dim">{escape(said)}</p>', page.keys(rows(cells), HEADER)]
    for prompt, group in itertools.groupby(cells, key=lambda cell: cell.prompt):
        columns = "".join(_html_column(cell) for cell in group)
        parts.append(f'<h2>{escape(_one_line(prompt))}</h2><div class="samples">{columns}</div>')
    return page.page(title, "\n".join(parts), more_style=STYLE)


STYLE = """
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 0 22px; }
.samples h3 { margin-bottom: 0; } .samples blockquote { margin: 8px 0 4px; font-size: 16px; }
"""


def _html_column(cell: Cell) -> str:
    said = _said(cell.column.changes)
    head = escape(cell.column.name) + (f' <span class="dim">{escape(said)}</span>' if said != cell.column.name else "")
    texts = [
        f'<blockquote><span class="given">{escape(cell.prompt)}</span>{escape(text.text)}</blockquote>'
        f'<p class="note">{escape(_facts(text))}</p>'
        for text in cell.completions
    ]
    return f"<div><h3>{head}</h3>{''.join(texts)}</div>"


def _facts(text: Completion) -> str:
    return f"{text.n_tokens} tokens, {text.finish_reason}, {text.repeated_4grams:.0%} of 4-grams repeated"


def _said(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in changes.items())


def _one_line(prompt: str) -> str:
    return " ".join(prompt.split()) or "(an empty prompt)"


def _quoted(prompt: str, text: Completion) -> list[str]:
    """The text as a quotation, its prompt in bold; two spaces keep each line's end."""
    begun = [_bold(line) for line in prompt.split("\n")]
    made = _plain(text.text).split("\n")
    lines = [*begun[:-1], begun[-1] + made[0], *made[1:]]
    return [f"> {line}  " if line.strip() else ">" for line in lines]


def _bold(line: str) -> str:
    """Not with stars: beside some letters they stay stars."""
    return f"<b>{_plain(line)}</b>" if line.strip() else line


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no letter is markup, at the beginning of a line or inside."""
    text = re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", text)
    text = re.sub(r"(?m)^(\s*)([-+=])", r"\1\\\2", text)
    text = re.sub(r"(?m)^(\s*\d+)([.)])(?=\s|$)", r"\1\\\2", text)
    return re.sub(r"(?m)^ +", lambda spaces: "\u00a0" * len(spaces[0]), text)  # four spaces would make it code
