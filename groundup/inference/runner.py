"""What the engine asks of whatever computes logits: protocols, and nothing that needs torch.

A Runner holds a model and the keys and values of every sequence that is on its way. Ids go in, the logits of what may
follow come out; what is drawn from them is not its business. There are two: `torch_runner.py`, on any device, and
`compiled/`, on a CPU without torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


class State(Protocol):
    """What a runner keeps of one sequence: keys and values of its first `length` ids."""

    @property
    def length(self) -> int: ...

    def truncate(self, length: int) -> None:
        """Forgets the ids after the first `length`. ValueError for more than there are."""
        ...

    def fork(self) -> "State":
        """A second one that holds the same, and goes its own way."""
        ...

    def close(self) -> None:
        """Gives its room back; it is not used again. Once is enough, twice does no harm."""
        ...


@dataclass(frozen=True)
class Work:
    """Ids, at least one, that come after what a state holds."""

    state: State
    ids: Sequence[int]
    every: bool = False
    """Are the logits after each id wanted, or only after the last?"""
    in_company: bool = False
    """Is the text one of several, so that its numbers have to be the same whoever else is in a pass? Alone, the ids of
    one text may be computed in whatever way is quickest."""


@runtime_checkable
class Runner(Protocol):
    """A model that runs. It belongs to one thread; two runners may share a model and its weights."""

    @property
    def name(self) -> str:
        """Which of the two it is: torch or compiled."""
        ...

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_length(self) -> int: ...

    @property
    def bytes_per_position(self) -> int:
        """What the keys and values of one id take: times the length of a sequence, its memory, known beforehand."""
        ...

    def open(self) -> State:
        """An empty sequence. Its room grows as it is needed."""
        ...

    def run(self, work: Sequence[Work]) -> list[np.ndarray]:
        """Appends the ids to their states, and returns for each, float32, the logits (vocab_size,) after its last id,
        or (n, vocab_size) where `every`. Numbers of ids and lengths of states may be any; no state stands twice.

        When it raises, Ctrl-C included, a state still holds a beginning of the ids it was given: its `length` says how
        many of them.
        """
        ...
