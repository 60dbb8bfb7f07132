"""What every engine asks of a model: a state for each sequence, and ids in, logits out. Nothing here computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class State(Protocol):
    """What a runner keeps of one sequence: keys and values of its first `length` ids."""

    length: int

    def truncate(self, length: int) -> None:
        """Forgets the ids after the first `length`."""
        ...

    def fork(self) -> "State":
        """A second state of the same ids, which goes its own way."""
        ...

    def close(self) -> None:
        """Gives its memory back; it is not used again."""
        ...


@dataclass
class Work:
    """Ids to append to one state."""

    state: State
    ids: Sequence[int]
    every: bool = False
    """logits after each of the ids, and not only after the last"""


class Runner(Protocol):
    """A model that is ready to run."""

    name: str
    vocab_size: int
    context_length: int
    bytes_per_position: int

    def open(self) -> State:
        """The state of an empty sequence; its room grows as it is needed."""
        ...

    def run(self, work: Sequence[Work]) -> list[np.ndarray]:
        """Float32 logits for each: (vocab_size,) after the last id, or (n ids, vocab_size) where `every`."""
        ...
