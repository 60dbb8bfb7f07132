"""Why two runs came to different numbers: every recorded thing in which their cards differ, and where the losses part.

Two runs of one configuration on one machine give the same losses to the last bit. So where they part, something below
differs; if nothing does, it is something that no card records.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from groundup.config import NOT_IDENTITY
from groundup.train import card
from groundup.train.card import Card

PLACES = NOT_IDENTITY | {"run_dir", "resume_from"}  # where a run writes and how it talks changes no number
# In the order in which they explain most: what was asked for, what it was made of, what it ran on.
SECTIONS = ("config", "data", "tokenizer", "started_from", "seeds", "budget", "code", "versions", "machine")
NOT_COMPARED = {"data.sources", "started_from.path"}  # their content has a hash, which is


class Difference(NamedTuple):
    """A value that differs; None where a run has none."""

    name: str  # dotted, such as config.train.lr
    a: Any
    b: Any


@dataclass(frozen=True)
class Losses:
    """How the losses of two runs compare, step by step."""

    n_compared: int
    n_only_in_one: int
    first: tuple[str, int, float | None, float | None] | None
    """column, step and both values of the first that differ"""
    largest: float
    """the largest difference, relative to the first run's loss"""

    @property
    def are_identical(self) -> bool:
        return self.first is None and self.n_only_in_one == 0 and self.n_compared > 0


def differences(a: Card, b: Card) -> list[Difference]:
    """What differs, section by section; a value that one of the cards does not know is not held against the other."""
    found = []
    for section in SECTIONS:
        of_a, of_b = dict(_flat(section, a.get(section))), dict(_flat(section, b.get(section)))
        for name in dict.fromkeys([*of_a, *of_b]):
            both = of_a.get(name), of_b.get(name)
            if both[0] != both[1] and not (section != "config" and None in both):
                found.append(Difference(name, *both))
    return found


def compare_losses(a: Card, b: Card) -> Losses:
    """Bit by bit. At one step the training loss comes first: it is computed before the update, validation after it."""
    n_compared = n_only_in_one = 0
    largest = 0.0
    first: tuple[str, int, float | None, float | None] | None = None
    for column in ("train_loss", "val_loss"):
        of_a, of_b = card.losses(a, column), card.losses(b, column)
        common = [step for step in of_a if step in of_b]
        n_compared += len(common)
        n_only_in_one += len(of_a) + len(of_b) - 2 * len(common)
        for step in common:
            x, y = of_a[step], of_b[step]
            if x == y:
                continue
            if x is not None and y is not None:
                largest = max(largest, abs(x - y) / (abs(x) or 1.0))
            if first is None or step < first[1]:
                first = (column, step, x, y)
    return Losses(n_compared, n_only_in_one, first, largest)


def sentence(compared: Losses, a: str, b: str) -> str:
    """What the comparison found, for people."""
    if compared.n_compared == 0:
        return "the two have no step in common"
    if compared.first is None:
        more = f"; {compared.n_only_in_one:,} are of one of them alone" if compared.n_only_in_one else ""
        return f"identical: all {compared.n_compared:,} losses that both have{more}"
    column, step, x, y = compared.first
    name = {"train_loss": "training", "val_loss": "validation"}[column]
    far = f"; at most {100 * compared.largest:.2g} % apart" if compared.largest else ""
    return f"the {name} losses part at step {step:,}: {x} ({a}), {y} ({b}){far}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in PLACES:
                yield from _flat(f"{name}.{key}", item)
    elif name not in NOT_COMPARED:
        yield name, value
