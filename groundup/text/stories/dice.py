"""Random choices that are a pure function of (seed, index), and the little language of templates.

A template is a sentence with slots `{A}` and choices `[walked|ran]`; choices do not nest. Slots are filled by
`str.format_map`, so `{A.his}` is an attribute of what stands in slot A.

    >>> dice = Dice(0, "example", 0)
    >>> dice.fill("{A} [walked|ran] home.", {"A": "Mia"}) in ("Mia walked home.", "Mia ran home.")
    True
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Any, TypeVar
from zlib import crc32

Item = TypeVar("Item")


class Dice:
    """Draws for one item. Only `Random.random` is used: its numbers are the same in every version of Python."""

    __slots__ = ("random",)

    def __init__(self, seed: int, stream: str, index: int):
        self.random = Random(seed << 72 | crc32(stream.encode()) << 40 | index).random

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.random() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.random() * (high - low + 1))

    def some(self, items: Sequence[Item], n: int) -> list[Item]:
        """n different items, in random order."""
        taken: dict[int, None] = {}
        while len(taken) < n:
            taken[int(self.random() * len(items))] = None
        return [items[i] for i in taken]

    def weighted(self, weights: Sequence[tuple[Item, float]]) -> Item:
        """One item, by weights that sum to 1."""
        left = self.random()
        for item, weight in weights:
            left -= weight
            if left < 0:
                return item
        return weights[-1][0]

    def fill(self, template: str, slots: Mapping[str, Any]) -> str:
        random = self.random
        text = "".join([p if isinstance(p, str) else p[int(random() * len(p))] for p in _parts(template)])
        return text.format_map(slots)


@cache
def _parts(template: str) -> tuple[str | tuple[str, ...], ...]:
    """'a [b|c] d' -> ('a ', ('b', 'c'), ' d')."""
    pieces = re.split(r"\[([^]]*)\]", template)
    return tuple(tuple(piece.split("|")) if i % 2 else piece for i, piece in enumerate(pieces) if piece)


def kept_back(*parts: object, one_in: int = 8) -> bool:
    """Whether a combination belongs to the held-out questions. It depends on the combination alone, never on a seed,
    so that what is held out from one corpus is held out from every corpus."""
    return crc32("/".join(map(str, parts)).encode()) % one_in == 0


def capital(text: str) -> str:
    """The first letter of a sentence in capitals, also behind an opening quotation mark."""
    if text[0] == '"':
        return '"' + text[1].upper() + text[2:]
    return text[0].upper() + text[1:]


def with_article(noun: str) -> str:
    """'umbrella' -> 'an umbrella'."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun
