"""Drafts: cheap guesses at the next few ids, so that a large model runs once for several of them.

A model takes less time for five ids at once than for five in turn, because reading its weights is much of the work:
on a GPU hardly longer than for one, on two CPU cores about twice as long. So something cheap guesses, the model runs
over all guesses at once, and draws the id of each place with the number that the place's own turn would have brought.
As long as it draws what was guessed, the next place's logits are right; the first that differs is kept too, and the
rest is thrown away:

    text so far   the cat sat        guessed   on  the  mat  .
    the model draws                            on  the  sofa          three new ids for one run

The text is therefore the one that comes without a draft, id for id, at every temperature (which is more than
Leviathan et al. 2023, arXiv:2211.17192, promise, whose text has the same distribution). A draft model draws with the
same numbers, so that it agrees also where several ids are likely.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from groundup.errors import UsageError
from groundup.inference.history import History, after_last
from groundup.inference.runner import Runner, State, Work
from groundup.inference.sampling import choose
from groundup.inference.settings import Settings

MOST_DRAFTED = 16
"""More guesses at once are seldom all right, and each costs a little."""
FIRST_BELIEF = (6.4, 8.0)
"""Right guesses and all, as if seen before the first: four of five are right, and three are made."""
MEMORY = 0.94
"""Of what was seen before each guess: the last sixteen or so count."""
PAUSES = 8
"""Passes without a guess, while guesses are wrong, until one is tried."""


class Draft(Protocol):
    """Something that guesses."""

    def propose(self, ids: Sequence[int], n: int, uniforms: Sequence[float], settings: Settings) -> list[int]:
        """At most n ids that may follow on `ids`, prompt and text so far; `uniforms` are the numbers of their turns."""
        ...

    def check(self, target: Runner) -> None:
        """Raises UsageError if this draft cannot guess for that model."""
        ...


def accept(
    logits: np.ndarray, draft: Sequence[int], settings: Settings, history: History, uniforms: Sequence[float]
) -> list[int]:
    """The ids that the model itself draws, at least one, and at most one more than were guessed; added to `history`.

    logits: (1 + len(draft), vocab_size), after the last id of the text and after each guess. uniforms: the number of
    each place; those of places that were not reached belong to the next call. A stop id is the last.
    """
    new = []
    for row, guess, uniform in zip(logits, [*draft, None], uniforms, strict=False):
        id_ = choose(row, settings, history, uniform)
        history.add(id_)
        new.append(id_)
        if id_ != guess or id_ in settings.stop_ids:
            break
    return new


class Reach:
    """How far ahead one text is guessed: as far as all guesses are right more often than not.

    Each wrong guess has made its pass longer for nothing, and all after it as well. Where a single guess is wrong more
    often than not, none is made, but for one now and then.
    """

    def __init__(self) -> None:
        self._right, self._judged = FIRST_BELIEF
        self._n_pauses = 0

    def next(self) -> int:
        """How many ids to guess now."""
        share = self._right / self._judged
        if share < 0.5:
            self._n_pauses += 1
            return int(self._n_pauses > PAUSES)
        return MOST_DRAFTED if share == 1 else min(MOST_DRAFTED, int(math.log(0.5) / math.log(share)))

    def saw(self, n_drafted: int, n_right: int) -> None:
        """What became of some guesses. The one after the last right one was wrong; what comes after it says nothing."""
        n_judged = min(n_drafted, n_right + 1)
        self._right = MEMORY**n_judged * self._right + n_right
        self._judged = MEMORY**n_judged * self._judged + n_judged
        self._n_pauses = PAUSES if n_right else 0  # a right one is followed by the next at once


class PromptLookup:
    """Guesses that the text repeats itself: what followed the last few ids when they stood there before.

    It costs next to nothing, and helps where an answer quotes its question: summaries, corrections, code.
    (Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.)

    longest, shortest: how many of the last ids have to occur before; the longest match counts.
    """

    def __init__(self, longest: int = 3, shortest: int = 2):
        if not 1 <= shortest <= longest:
            raise ValueError(f"shortest is {shortest} and longest {longest}; valid is 1 <= shortest <= longest")
        self.longest = longest
        self.shortest = shortest

    def propose(self, ids: Sequence[int], n: int, uniforms: Sequence[float], settings: Settings) -> list[int]:
        """The latest occurrence with n ids behind it counts; if there is none, the earliest, which has the most."""
        array = np.asarray(ids, dtype=np.int64)
        for length in range(self.longest, self.shortest - 1, -1):
            places = after_last(array, length)
            if len(places):
                whole = places[places + n <= len(array)]
                start = whole[-1] if len(whole) else places[0]
                return array[start : start + n].tolist()
        return []

    def check(self, target: Runner) -> None:
        """It guesses for every model."""


@dataclass
class _Kept:
    """A state of the draft model, the ids that it holds, and how many of those were text and not guesses."""

    state: State
    ids: np.ndarray
    n_text: int


class DraftModel:
    """A smaller model of the same tokenizer, which draws with the same numbers.

    It knows a text by its ids alone: of the last `n_states` texts it keeps the states, and a text that goes on from
    one of them costs only its new ids. Presence and frequency penalties count only what it guesses itself, which
    may cost a guess and never changes the text.
    """

    def __init__(self, runner: Runner, n_states: int = 8):
        if n_states < 1:
            raise ValueError(f"n_states is {n_states}; valid are whole numbers from 1")
        self.runner = runner
        self.n_states = n_states
        self._kept: list[_Kept] = []
        """The one used last is the last."""

    def propose(self, ids: Sequence[int], n: int, uniforms: Sequence[float], settings: Settings) -> list[int]:
        """Fewer than n where the draft model's own context ends, or a stop id is guessed."""
        n = min(n, self.runner.context_length - len(ids), len(uniforms))
        if n < 1:
            return []
        array = np.asarray(ids, dtype=np.int64)
        kept = self._state_for(array)
        history = History(array.tolist())
        fresh = history.ids[kept.state.length :]
        guesses: list[int] = []
        while len(guesses) < n:
            [logits] = self.runner.run([Work(kept.state, fresh)])
            guesses.append(choose(logits, settings, history, uniforms[len(guesses)]))
            history.add(guesses[-1])
            fresh = guesses[-1:]
            if fresh[0] in settings.stop_ids:
                break
        kept.ids, kept.n_text = history.array[: kept.state.length].copy(), len(ids)
        return guesses

    def check(self, target: Runner) -> None:
        """Ids have to mean the same to both."""
        if self.runner.vocab_size != target.vocab_size:
            raise UsageError(
                f"The draft model has a vocabulary of {self.runner.vocab_size} tokens, and the model it drafts for "
                f"one of {target.vocab_size}.",
                hint="a draft model needs the same tokenizer",
            )

    def close(self) -> None:
        """Gives back the memory of all states."""
        while self._kept:
            self._kept.pop().state.close()

    def _state_for(self, ids: np.ndarray) -> _Kept:
        """A state that holds a beginning of `ids`, all of them but the last at most."""
        in_common = [_n_in_common(kept.ids, ids) for kept in self._kept]
        n_shared = max(in_common, default=0)
        if not n_shared:
            kept = _Kept(self.runner.open(), ids[:0], 0)
        elif n_shared >= (nearest := self._kept[in_common.index(n_shared)]).n_text:
            self._kept.remove(nearest)  # the same text, further on
            kept = nearest
        else:
            kept = _Kept(nearest.state.fork(), nearest.ids, 0)  # another text, which begins alike
        kept.state.truncate(min(n_shared, len(ids) - 1))
        kept.ids = ids[: kept.state.length]
        self._kept.append(kept)
        while len(self._kept) > self.n_states:
            self._kept.pop(0).state.close()
        return kept


def _n_in_common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the beginning that two arrays share."""
    n = min(len(a), len(b))
    is_other = a[:n] != b[:n]
    return int(is_other.argmax()) if is_other.any() else n
