"""How SentencePiece's pieces are joined: by score, or by a list of merges that says the same.

At any time the two neighbours are joined whose join has the lowest rank, of equal ones the leftmost.
"""

import heapq
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundup.tokenizer.sentencepiece import SentencePieceBPE

MAX_CACHED = 200_000
"""Pairs of pieces."""

Join = tuple[int, int]
"""The rank of a join, the lower the sooner, and the id of what it makes."""


class Joins(dict[tuple[int, int], Join]):
    """What each pair of neighbours becomes, None if they do not join."""

    def __missing__(self, pair: tuple[int, int]) -> None:
        return None


class JoinsByScore(dict[tuple[int, int], "Join | None"]):
    """The same where any two pieces join if together they are a piece: looked up once, then kept."""

    def __init__(self, pieces: Sequence[str], ids: Mapping[str, int], scores: Sequence[float]):
        rank_by_score = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
        self.pieces, self.ids = pieces, ids
        self.ranks = [rank_by_score[score] for score in scores]
        self.left_out = ""
        """A piece that is not joined."""

    def __missing__(self, pair: tuple[int, int]) -> Join | None:
        left, right = pair
        if max(left, right) >= len(self.pieces):
            return None
        piece = self.pieces[left] + self.pieces[right]
        made = None if piece == self.left_out else self.ids.get(piece)
        joined = None if made is None else (self.ranks[made], made)
        if not self.left_out:
            if len(self) >= MAX_CACHED:
                self.clear()
            self[pair] = joined
        return joined


def join(symbols: list[int], joins: Mapping[tuple[int, int], Join | None]) -> list[int]:
    """The symbols joined: a heap of candidates and a linked list of what is left, n log n. Changes `symbols`."""
    n = len(symbols)
    after, before = list(range(1, n + 1)), list(range(-1, n - 1))
    heap = [(*found, i, pair) for i, pair in enumerate(pairwise(symbols)) if (found := joins[pair])]
    heap = [(rank, i, made, pair) for rank, made, i, pair in heap]
    heapq.heapify(heap)
    gone = -1
    while heap:
        _, i, made, pair = heapq.heappop(heap)
        j = after[i]
        if j >= n or (symbols[i], symbols[j]) != pair:
            continue  # one of the two was joined with another neighbour since
        symbols[i], symbols[j] = made, gone
        after[i] = after[j]
        if after[j] < n:
            before[after[j]] = i
        for first in (before[i], i):
            if first >= 0 and after[first] < n:
                candidate = (symbols[first], symbols[after[first]])
                if found := joins[candidate]:
                    heapq.heappush(heap, (found[0], first, found[1], candidate))
    return [symbol for symbol in symbols if symbol != gone]


def merges_by_score(tokenizer: "SentencePieceBPE") -> list[tuple[int, int]] | None:
    """The joins as a list of merges that gives the same ids: of each piece the last join it is ever made by.

    None if there is no such list. A list has a strict order, and of pieces with equal scores the leftmost join comes
    first. That can be said in a list only of runs of one character that come after all else, as Llama 2's runs of
    spaces: the longer run first. See merge_order.py on why one pair a piece is enough.
    """
    joins = tokenizer._joins
    assert isinstance(joins, JoinsByScore)
    without = JoinsByScore(joins.pieces, joins.ids, tokenizer.scores or [0.0] * len(joins.pieces))
    last_join: dict[int, tuple[int, int]] = {}
    for piece, i in joins.ids.items():
        if len(piece) > 1:
            without.left_out = piece
            parts = join(tokenizer._symbols(piece), without)
            if len(parts) == 2:
                last_join[i] = (parts[0], parts[1])
    order = sorted(last_join, key=lambda i: (joins.ranks[i], -len(joins.pieces[i])))
    tied = [b for a, b in pairwise(order) if joins.ranks[a] == joins.ranks[b]]
    merges = [last_join[i] for i in order]
    if tied:
        last = [joins.pieces[i] for i in order if joins.ranks[i] == joins.ranks[tied[0]]]
        if len({joins.ranks[i] for i in tied}) > 1 or order[-1] not in tied or len(set("".join(last))) > 1:
            return None
        listed = Joins({pair: (rank, order[rank]) for rank, pair in enumerate(merges)})
        for n in range(1, 4 * len(last[0])):
            run = tokenizer._symbols(last[0][0] * n)
            if join(list(run), joins) != join(list(run), listed):
                return None
    return merges
