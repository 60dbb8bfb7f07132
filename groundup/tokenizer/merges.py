"""The merges of byte-level BPE, in plain Python: from distinct pieces and how often each occurs.

Sennrich, Haddow, Birch 2016 (https://arxiv.org/abs/1508.07909): begin with bytes; join the most frequent pair of
neighbours into a new token; repeat. merge_compiled.py does the same for large corpora.
"""

import heapq
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import add
from typing import Any

import numpy as np

from groundup.tokenizer.alphabet import BYTES_IN_ORDER


@dataclass(frozen=True, slots=True)
class Ties:
    """Which of equally frequent pairs is merged first. byte_order: the bytes in the order of their ids."""

    byte_order: bytes
    greatest_bytes: bool = False

    def key(self, pair: str, tokens: Sequence[bytes]) -> "str | Greatest":
        """The pair of the least key comes first."""
        return Greatest(tokens[ord(pair[0])], tokens[ord(pair[1])]) if self.greatest_bytes else pair


@dataclass(frozen=True, slots=True)
class Greatest:
    """A pair of tokens that is less than another if its bytes are greater."""

    left: bytes
    right: bytes

    def __lt__(self, other: "Greatest") -> bool:
        return (self.left, self.right) > (other.left, other.right)


TIES = {
    "huggingface": Ties(BYTES_IN_ORDER),
    "bytes": Ties(bytes(range(256))),
    "lexicographic": Ties(bytes(range(256)), greatest_bytes=True),
}
"""huggingface: the lower ids, bytes numbered by their characters in byte-level files (tokenizers). bytes: the lower
ids, bytes numbered by their value (rustbpe, minbpe). lexicographic: the greater bytes (Stanford's CS336)."""


# A word is a string whose characters are ids: `chr(id)`. Joining a pair is then splitting at a string of two
# characters, and strings compare as their ids do.


def merge(  # noqa: C901 - one loop
    count_by_piece: Mapping[bytes, int],
    n_merges: int,
    *,
    ties: Ties = TIES["huggingface"],
    first: Iterable[Sequence[int]] = (),
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The first `n_merges` merges, fewer if no pair is left: an array (n, 2) of the ids joined.

    Ids here are 0 to 255 for the bytes in the order of `ties` and 256 + k for the result of merge k.
    first: merges that are given, to go on from.

    >>> merge({b"abab": 2, b"abc": 1}, 2).tolist()  # "a" is 64, "b" is 65, so "ab" is merge 0, "abab" is merge 1
    [[64, 65], [256, 256]]
    """
    id_by_byte = bytes(ties.byte_order.index(byte) for byte in range(256))
    words = [piece.translate(id_by_byte).decode("latin-1") for piece in count_by_piece]
    counts = list(count_by_piece.values())
    tokens = [bytes([byte]) for byte in ties.byte_order]

    count_by_pair: defaultdict[str, int] = defaultdict(int)
    words_by_pair: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
    for index, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            count_by_pair[pair] += counts[index]
            words_by_pair[pair].append(index)

    given = [chr(left) + chr(right) for left, right in first]
    heap = [(-n, ties.key(pair, tokens), pair) for pair, n in count_by_pair.items()]
    heapq.heapify(heap)
    merges: list[str] = []
    while len(merges) < n_merges:
        pair = given[len(merges)] if len(merges) < len(given) else _most_frequent(heap, count_by_pair)
        if not pair:
            break
        new = chr(256 + len(merges))
        merges.append(pair)
        tokens.append(tokens[ord(pair[0])] + tokens[ord(pair[1])])
        created = set()
        for index in set(words_by_pair.pop(pair, ())):
            words[index], lost, gained = _join(words[index], pair, new)
            for neighbours in lost:
                count_by_pair[neighbours] -= counts[index]
            for neighbours in gained:
                count_by_pair[neighbours] += counts[index]
                words_by_pair[neighbours].append(index)
            created.update(gained)
        count_by_pair.pop(pair, None)
        for neighbours in created:
            heapq.heappush(heap, (-count_by_pair[neighbours], ties.key(neighbours, tokens), neighbours))
        if progress and len(merges) % 100 == 0:
            progress(len(merges))
    if progress:
        progress(len(merges))
    return np.array([(ord(left), ord(right)) for left, right in merges], dtype=np.uint32).reshape(-1, 2)


def _most_frequent(heap: list[tuple[int, Any, str]], count_by_pair: Mapping[str, int]) -> str | None:
    """Take the most frequent pair off the heap of (-count, key, pair), or None when none is left.

    The heap is lazy: an entry keeps the count of when it was pushed, and counts only fall after that. So an outdated
    entry comes up too early, never too late, and is put back with the present count.
    """
    while heap:
        negative_count, key, pair = heapq.heappop(heap)
        present = count_by_pair.get(pair, 0)
        if present > 0 and present == -negative_count:
            return pair
        if present > 0:
            heapq.heappush(heap, (-present, key, pair))
    return None


def _join(word: str, pair: str, new: str) -> tuple[str, list[str], list[str]]:
    """The word with `pair` joined from left to right, the pairs of neighbours it lost by that, and those it gained.

    >>> _join("bananas", "an", "X")
    ('bXXas', ['ba', 'na', 'na'], ['bX', 'XX', 'Xa'])
    """
    left, right = pair
    lost, gained = [], []
    parts = word.split(pair)
    for i, (before, after) in enumerate(pairwise(parts)):
        if before:
            lost.append(before[-1] + left)
            gained.append(before[-1] + new)
        elif i > 0:  # two joined pairs side by side
            lost.append(right + left)
            gained.append(new + new)
        if after:
            lost.append(right + after[0])
            gained.append(new + after[0])
    return new.join(parts), lost, gained
