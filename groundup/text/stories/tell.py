"""Streams of stories and of conversations, as long as wanted.

Item `index` of a corpus is a pure function of (seed, index), so several processes can work on ranges of indices and the
result is the same for any number of them.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import get_context
from typing import TypeVar

from groundup.text.records import Conversation, Document, Message
from groundup.text.stories.dice import Dice
from groundup.text.stories.kinds import KINDS, recite_share
from groundup.text.stories.plots import days, fables, finding, helping, scenes, trying
from groundup.text.stories.teller import Teller

Item = TypeVar("Item")

# Shares of the themes; within one, every plot is as likely as the others.
THEMES = (
    (finding.PLOTS, 0.16),
    (helping.PLOTS, 0.16),
    (trying.PLOTS, 0.16),
    (fables.PLOTS, 0.10),
    (days.PLOTS, 0.30),
    (days.PASSAGES, 0.12),
)
# Stories that may follow on one another with the same people.
EPISODES = finding.PLOTS + helping.PLOTS[:6] + trying.PLOTS[:3]
EPISODE_SHARE = 0.2
TITLE_SHARE = 0.3
RECAP_SHARE = 0.4
RANGE = 500  # items one process makes at a time
BYTES_WORTH_A_POOL = 3_000_000
CONVERSATIONS_WORTH_A_POOL = 40_000

_KIND_WEIGHTS = tuple((kind, kind.weight) for kind in KINDS)
_RECITE = next(kind for kind in KINDS if kind.name == "recite")


def story(seed: int, index: int) -> str:
    """One document: a story, a fable, a letter, a lesson. It ends without a newline."""
    dice = Dice(seed, "story", index)
    teller = Teller(dice)
    plot = dice.pick(dice.weighted(THEMES))
    plot(teller)
    if plot in EPISODES and dice.chance(EPISODE_SHARE):
        teller.next_episode()
        dice.pick([other for other in EPISODES if other is not plot])(teller)
        teller.title = ""
    if dice.chance(RECAP_SHARE):
        scenes.recap(teller)
    if not dice.chance(TITLE_SHARE):
        teller.title = ""
    return teller.text()


def conversation(seed: int, index: int, difficulty: float = 1.0) -> Conversation:
    """One training conversation; `meta["kind"]` is its kind. `difficulty` from 0 to 1 is the length of passages."""
    dice = Dice(seed, "conversation", index)
    kind = _RECITE if dice.chance(recite_share(difficulty)) else dice.weighted(_KIND_WEIGHTS)
    made = kind.make(dice, difficulty, None)
    return Conversation((*made.messages, Message("assistant", made.reply)), {"kind": kind.name})


def documents(seed: int, n_bytes: int, processes: int | None = None) -> Iterator[Document]:
    """Stories until n_bytes of UTF-8 are reached. `processes` None: all cores where it is worth it."""
    n_workers = _workers(processes, n_bytes >= BYTES_WORTH_A_POOL)
    made = 0
    for text in _in_order(_stories, seed, None, n_workers):
        yield Document(text, "stories")
        made += len(text.encode())
        if made >= n_bytes:
            return


def conversations(seed: int, n: int, processes: int | None = None) -> Iterator[Conversation]:
    """n conversations, which grow more difficult along the list."""
    yield from _in_order(_conversations, seed, n, _workers(processes, n >= CONVERSATIONS_WORTH_A_POOL))


def _stories(seed: int, start: int, stop: int, n: int | None) -> list[str]:
    return [story(seed, index) for index in range(start, stop)]


def _conversations(seed: int, start: int, stop: int, n: int | None) -> list[Conversation]:
    last = max(1, (n or stop) - 1)
    return [conversation(seed, index, index / last) for index in range(start, stop)]


def _workers(processes: int | None, is_worth_it: bool) -> int:
    if processes is None:
        return os.cpu_count() or 1 if is_worth_it else 1
    return max(1, processes)


def _in_order(
    make: Callable[[int, int, int, int | None], list[Item]], seed: int, n: int | None, processes: int
) -> Iterator[Item]:
    """Items 0, 1, 2 ... up to n or without end, range by range, from one process or several."""
    ranges = ((start, start + RANGE if n is None else min(n, start + RANGE)) for start in count(0, RANGE))
    if n is not None:
        ranges = ((start, min(n, start + RANGE)) for start in range(0, n, RANGE))
    if processes == 1:
        for start, stop in ranges:
            yield from make(seed, start, stop, n)
        return
    with get_context("spawn").Pool(processes) as pool:
        waiting: deque = deque()
        for start, stop in ranges:
            waiting.append(pool.apply_async(make, (seed, start, stop, n)))
            if len(waiting) > 2 * processes:
                yield from waiting.popleft().get()
        while waiting:
            yield from waiting.popleft().get()
