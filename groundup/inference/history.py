"""History: the ids of one text so far, and what the penalties ask of them."""

from collections.abc import Sequence

import numpy as np


class History:
    """The prompt and what was written after it.

    `ids` holds both, and the first `n_prompt` of them are the prompt. `counts` says how often each id was written, the
    prompt left out, as OpenAI's presence and frequency penalties count.
    """

    def __init__(self, prompt: Sequence[int], new: Sequence[int] = ()):
        self.n_prompt = len(prompt)
        self.ids: list[int] = [int(id_) for id_ in prompt]
        self.counts: dict[int, int] = {}
        self._array = np.array(self.ids, dtype=np.int64)
        for id_ in new:
            self.add(id_)

    def add(self, id_: int) -> None:
        """One more id was written."""
        n = len(self.ids)
        if n == len(self._array):
            self._array = np.resize(self._array, 2 * n + 16)
        self._array[n] = id_
        self.ids.append(int(id_))
        self.counts[int(id_)] = self.counts.get(int(id_), 0) + 1

    @property
    def array(self) -> np.ndarray:
        """`ids` as an array, int64 (n,): a view, kept up to date so that a long text is not copied at every step."""
        return self._array[: len(self.ids)]

    @property
    def new(self) -> list[int]:
        """The ids after the prompt."""
        return self.ids[self.n_prompt :]

    def copy(self) -> "History":
        """Another one with the same ids, which goes its own way."""
        twin = History(())
        twin.n_prompt, twin.ids, twin.counts = self.n_prompt, self.ids.copy(), self.counts.copy()
        twin._array = self._array.copy()
        return twin


def after_last(ids: np.ndarray, n: int) -> np.ndarray:
    """Where the last n of the ids, (length,), occurred before: the places of what came next, ascending.

    In 5 6 7 5 6 9 5 6, the last two stood at 0 and 3: the places are 2 and 5, where 7 and 9 are. With n = 0 they are
    all places.
    """
    n_starts = len(ids) - n
    if n_starts <= 0:
        return np.empty(0, dtype=np.int64)
    is_same = np.ones(n_starts, dtype=bool)
    for offset in range(n):
        is_same &= ids[offset : offset + n_starts] == ids[n_starts + offset]
    return np.flatnonzero(is_same) + n
