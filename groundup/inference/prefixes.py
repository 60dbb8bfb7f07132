"""What was computed for one text and serves the next: prompts that begin alike.

The next question of a chat begins with all that was said before; many prompts begin with one system prompt; copies of
a prompt are one prompt. The states of the last finished texts are kept for this, a handful of them.
"""

from collections.abc import Iterable, Sequence

from groundup.inference.runner import State

Known = tuple[Sequence[int], State]
"""The ids of a text, and a state that holds the first of them."""

LEAST = 16
"""A shorter beginning is as soon computed as copied."""


class Prefixes:
    """At most `most` states, of `most_bytes` together; the oldest goes first. The last always stays: it was in memory
    a moment ago."""

    def __init__(self, bytes_per_position: int, most: int = 8, most_bytes: int = 2**28):
        self.most = most
        self.most_positions = most_bytes // max(1, bytes_per_position)
        self._kept: list[Known] = []

    def keep(self, ids: Sequence[int], state: State) -> None:
        """Takes over a state that nobody uses any more."""
        if not self.most or not state.length:
            state.close()
            return
        self._kept.append((list(ids[: state.length]), state))
        n_positions = sum(state.length for _, state in self._kept)
        while len(self._kept) > 1 and (len(self._kept) > self.most or n_positions > self.most_positions):
            _, oldest = self._kept.pop(0)
            n_positions -= oldest.length
            oldest.close()

    def begin(self, prompt: Sequence[int], running: Iterable[Known] = ()) -> State | None:
        """A state that holds the longest known beginning of the prompt, short of its last id, which has to run; None
        where none is worth it.

        A kept state goes on itself if it loses less than half of what it holds; else, and from those that are
        running, a copy is made.
        """

        def n_shared(known: Known) -> int:
            ids, state = known
            return min(n_alike(prompt, ids), state.length, len(prompt) - 1)

        candidates = [*self._kept, *running]
        if not candidates:
            return None
        best = max(candidates, key=n_shared)
        n, state = n_shared(best), best[1]
        is_kept = any(known is best for known in self._kept)
        if is_kept and n and 2 * n >= state.length:
            self._kept = [known for known in self._kept if known is not best]
        elif n >= LEAST:
            state = state.fork()
        else:
            return None
        state.truncate(n)
        return state

    def clear(self) -> None:
        for _, state in self._kept:
            state.close()
        self._kept = []


def n_alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two texts begin with in common."""
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    return n
