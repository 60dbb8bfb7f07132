"""A Runner without a model: a function from the ids so far to logits. It counts what it is asked."""

from collections.abc import Callable, Sequence

import numpy as np

from groundup.inference.runner import Work

Next = Callable[[list[int]], np.ndarray]


class FakeState:
    def __init__(self, ids: Sequence[int] = ()):
        self.ids = list(ids)
        self.is_closed = False
        self.forks: list[FakeState] = []

    @property
    def length(self) -> int:
        return len(self.ids)

    def truncate(self, length: int) -> None:
        assert 0 <= length <= len(self.ids) and not self.is_closed
        del self.ids[length:]

    def fork(self) -> "FakeState":
        assert not self.is_closed
        self.forks.append(FakeState(self.ids))
        return self.forks[-1]

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True

    def family(self) -> list["FakeState"]:
        return [self, *(state for fork in self.forks for state in fork.family())]


class FakeRunner:
    name = "fake"
    bytes_per_position = 0

    def __init__(self, next_logits: Next, vocab_size: int, context_length: int = 64):
        self.next_logits = next_logits
        self.vocab_size = vocab_size
        self.context_length = context_length
        self.n_runs = 0
        self.n_ids = 0
        self.opened: list[FakeState] = []

    def open(self) -> FakeState:
        self.opened.append(FakeState())
        return self.opened[-1]

    def run(self, work: Sequence[Work]) -> list[np.ndarray]:
        self.n_runs += 1
        results = []
        for item in work:
            state = item.state
            assert isinstance(state, FakeState)
            assert item.ids and not state.is_closed
            rows = []
            for id_ in item.ids:
                state.ids.append(int(id_))
                rows.append(self.next_logits(state.ids).astype(np.float32))
            assert state.length <= self.context_length
            self.n_ids += len(rows)
            results.append(np.stack(rows) if item.every else rows[-1])
        return results

    def states(self) -> list[FakeState]:
        return [state for opened in self.opened for state in opened.family()]


def bigrams(vocab_size: int, seed: int = 0, spread: float = 2.0) -> np.ndarray:
    """Logits of the next id by the last one, (vocab_size, vocab_size)."""
    return np.random.default_rng(seed).normal(0, spread, (vocab_size, vocab_size)).astype(np.float32)


def of_table(table: np.ndarray, context_length: int = 64) -> FakeRunner:
    """A runner whose logits depend on the last id alone."""
    return FakeRunner(lambda ids: table[ids[-1]], len(table), context_length)


def of_whole_text(vocab_size: int, seed: int = 0, context_length: int = 64) -> FakeRunner:
    """A runner whose logits depend on every id and its place: a state that holds a wrong id shows."""

    def next_logits(ids: list[int]) -> np.ndarray:
        return np.random.default_rng([seed, *ids]).normal(0, 2, vocab_size)

    return FakeRunner(next_logits, vocab_size, context_length)
