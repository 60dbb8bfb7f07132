"""A split pattern as a browser's regular expression, with the same matches whatever Unicode the browser knows.

JavaScript and `regex` differ in what `\\s`, `\\p{L}` and `(?i:...)` mean, and both change with Unicode. So every part
of a pattern that matches one character (a letter under `(?i:...)`, a class, `\\p{L}`, `.`) is replaced by the list of
the characters that `regex` finds for it. What is around these, groups, choices, repetitions and looking ahead, means
the same in both, except `x?+` and `(?>x)`, which JavaScript spells `(?=(?<name>x))\\k<name>`.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import NoReturn

import regex

from groundup.errors import UsageError
from groundup.tokenizer.split import compiled, expression

REPETITION = regex.compile(r"[*+?]|\{\d*,\d*\}|\{\d+\}")
GROUP = regex.compile(r"\((?:\?(?:[:=!>]|<[=!]|(?:P?<\w+>)|i:|-i:)|(?!\?))")
ESCAPE = regex.compile(
    r"\\(?:[pP]\{[^}]+\}|[pP][A-Z]|N\{[^}]+\}|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[sSdDwWnrtfva]|\W)"
)
CLASS = regex.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", regex.DOTALL)
WORD_BORDERS = {r"\b": "(?:(?<={w})(?!{w})|(?<!{w})(?={w}))", r"\B": "(?:(?<={w})(?={w})|(?<!{w})(?!{w}))"}
ENDS = {"$": r"(?=\n?(?![^]))", r"\Z": "(?![^])", "^": "^", r"\A": "^"}


@dataclass
class Translation:
    """source: the expression for JavaScript's `u` flag, in which `#2#` stands for the characters of `sets[2]`.
    sets: gap, length, gap, length ... of the runs of code points."""

    source: str = ""
    sets: list[list[int]] = field(default_factory=list)


def translate(pattern: str) -> Translation:
    """The pattern of a tokenizer, a name or an expression, for JavaScript. UsageError on what it has no words for."""
    compiled(pattern)  # a clear error for one that is wrong
    return _Translator(expression(pattern)).translate()


@cache
def runs(atom: str, ignores_case: bool) -> tuple[int, ...]:
    """The characters that an expression for one character matches: gap, length, gap, length ..."""
    found: list[int] = []
    end = 0
    for match in regex.finditer(f"(?:{atom})+", _every_character(), regex.IGNORECASE if ignores_case else 0):
        found += (match.start() - end, match.end() - match.start())
        end = match.end()
    return tuple(found)


@cache
def _every_character() -> str:
    return "".join(map(chr, range(0x110000)))


class _Translator:
    """Reads a pattern from left to right: choices of sequences of items, an item being a part and its repetition."""

    def __init__(self, pattern: str):
        self.text, self.at = pattern, 0
        self.ignores_case = False
        self.n_names = 0
        self.index_by_set: dict[tuple[int, ...], int] = {}

    def translate(self) -> Translation:
        if self.text.startswith("(?i)"):
            self.at, self.ignores_case = 4, True
        source = self._choices()
        if self.at < len(self.text):
            self._refuse()
        return Translation(source, [list(found) for found in self.index_by_set])

    def _choices(self) -> str:
        choices = [""]
        while self.at < len(self.text) and self.text[self.at] != ")":
            if self.text[self.at] == "|":
                self.at += 1
                choices.append("")
            else:
                choices[-1] += self._item()
        return "|".join(choices)

    def _item(self) -> str:
        part = self._part()
        if not (found := REPETITION.match(self.text, self.at)):
            return part
        self.at = found.end()
        repeated = part + found.group().replace("{,", "{0,")
        how = self.text[self.at : self.at + 1]
        if how in ("?", "+") and how:
            self.at += 1
            return repeated + "?" if how == "?" else self._without_return(repeated)
        return repeated

    def _part(self) -> str:
        rest = self.text[self.at : self.at + 2]
        if rest[0] == "(":
            return self._group()
        for table in (ENDS, WORD_BORDERS):
            if found := next((sign for sign in table if rest.startswith(sign)), None):
                self.at += len(found)
                return table[found].replace("{w}", self._set(r"\w"))
        if rest[0] in "*+?{":
            self._refuse()
        for shape in (CLASS, ESCAPE):
            if found := shape.match(self.text, self.at):
                self.at = found.end()
                return self._set(found.group())
        if rest[0] in "\\[":
            self._refuse()
        self.at += 1
        return self._set(rest[0])

    def _group(self) -> str:
        found = GROUP.match(self.text, self.at)
        if not found:
            self._refuse()
        opening, before = found.group(), self.ignores_case
        self.at = found.end()
        if opening in ("(?i:", "(?-i:"):
            self.ignores_case = opening == "(?i:"
        inside = self._choices()
        self.ignores_case = before
        self.at += 1  # the closing bracket, which is there, since the pattern compiles
        if opening == "(?>":
            return self._without_return(inside)
        return (opening if opening in ("(?=", "(?!", "(?<=", "(?<!") else "(?:") + inside + ")"

    def _without_return(self, inside: str) -> str:
        self.n_names += 1
        return rf"(?:(?=(?<a{self.n_names}>{inside}))\k<a{self.n_names}>)"

    def _set(self, atom: str) -> str:
        if regex.fullmatch(r"[A-Za-z0-9' ]", atom) and not self.ignores_case:
            return atom
        index = self.index_by_set.setdefault(runs(atom, self.ignores_case), len(self.index_by_set))
        return f"#{index}#"

    def _refuse(self) -> NoReturn:
        raise UsageError(
            f"a page cannot show this split pattern: it has no words for {self.text[self.at : self.at + 12]!r}",
            hint="groundup tokenizer play without --out shows it in the terminal",
        )
