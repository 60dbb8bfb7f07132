"""Training byte-level BPE: from text to a vocabulary of exactly the size asked for.

Sennrich, Haddow, Birch 2016 (https://arxiv.org/abs/1508.07909): begin with bytes; join the most frequent pair of
neighbours into a new token; repeat. Two steps, each replaceable by a faster twin: `count` (text to distinct pieces) and
`merge` (distinct pieces to a list of merges). Merges equal those of Hugging Face's `BpeTrainer`.
"""

import heapq
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice, pairwise
from multiprocessing import get_context
from operator import add

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer.alphabet import BYTES_IN_ORDER
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.chat import CHATML
from groundup.tokenizer.protocol import END_OF_TEXT, END_OF_TURN, PAD
from groundup.tokenizer.split import as_bytes, as_text, compiled, pieces

DEFAULT_SPECIALS = (END_OF_TEXT, "<|im_start|>", END_OF_TURN, PAD)

MAX_VOCAB_SIZE = 1_000_000

MAX_PIECES = 1_000_000
"""Distinct pieces kept while counting; beyond it rare ones are forgotten. Merging this many long ones takes a GB."""

MAX_PIECE_LENGTH = 1_000
"""Characters. A longer run of letters without a border is cut, or every merge would walk through all of it."""

BATCH_CHARACTERS = 2_000_000

N_WORTH_STARTING = 8
"""Batches; a smaller text is counted before child processes have started."""

Progress = Callable[[str, int], None]
"""Called with ("bytes", bytes counted so far) and ("merges", merges found so far)."""


def train(
    texts: Iterable[bytes | str],
    vocab_size: int,
    *,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = DEFAULT_SPECIALS,
    processes: int = 1,
    progress: Progress | None = None,
) -> BPE:
    """A tokenizer of exactly `vocab_size` tokens: the special tokens, the 256 bytes, then the merges, in this order.

    UsageError: an unknown pattern, an unusable special token, a vocabulary smaller than special tokens + 256.
    DataError: no text, or too little for that many merges.
    """
    check_vocab_size(vocab_size, special_tokens, pattern)
    n_first = len(special_tokens) + 256
    count_by_piece = count(texts, pattern, processes=processes, progress=progress)
    if not count_by_piece:
        raise DataError("there is no text to train a tokenizer on")

    merges = merge(count_by_piece, vocab_size - n_first, progress=progress)
    if len(merges) < vocab_size - n_first:
        raise DataError(
            f"only {len(merges)} merges are possible, {vocab_size - n_first} are needed: the text is too small",
            hint=f"use --vocab-size {n_first + len(merges)} or less, or more text",
        )

    tokens = [b""] * len(special_tokens) + [bytes([byte]) for byte in BYTES_IN_ORDER]
    pairs = merges.astype(np.int64) + len(special_tokens)
    for left, right in pairs.tolist():
        tokens.append(tokens[left] + tokens[right])
    special_ids = {name: i for i, name in enumerate(special_tokens)}
    can_chat = CHATML.start in special_ids and CHATML.end in special_ids
    return BPE(tokens, pairs, special_ids, pattern, CHATML.jinja if can_chat else None)


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str], pattern: str) -> None:
    """UsageError if bytes and special tokens do not fit, or a special token could also be made by merges."""
    n_first = len(special_tokens) + 256
    if vocab_size < n_first:
        raise UsageError(
            f"a vocabulary of {vocab_size} is too small:"
            f" 256 bytes and {len(special_tokens)} special tokens need {n_first}",
            hint=f"use --vocab-size {n_first} or more",
        )
    if vocab_size > MAX_VOCAB_SIZE:
        raise UsageError(f"a vocabulary of {vocab_size} is too large", hint=f"use at most {MAX_VOCAB_SIZE}")
    for name in special_tokens:
        if special_tokens.count(name) > 1:
            raise UsageError(f"the special token {name!r} is given twice")
        if len(compiled(pattern).findall(name)) < 2:
            raise UsageError(
                f"{name!r} cannot be a special token: text could be joined to a token of the same name",
                hint=f"mix letters and marks, such as '<|{name.strip() or 'name'}|>'",
            )


# --- step 1: text to distinct pieces ---


def count(
    texts: Iterable[bytes | str],
    pattern: str = "gpt2",
    *,
    processes: int = 1,
    max_pieces: int = MAX_PIECES,
    progress: Progress | None = None,
) -> Counter[bytes]:
    """How often each distinct piece occurs. Memory is bounded by `max_pieces`, not by the text.

    With `processes` above 1 the texts are read here and split in that many child processes; the result is the same.
    """
    total: Counter[str] = Counter()
    n_bytes = 0
    for counted, size in _counted(_batches(texts), pattern, processes):
        total.update(counted)
        _forget_rarest(total, max_pieces)
        n_bytes += size
        if progress:
            progress("bytes", n_bytes)

    count_by_piece: Counter[bytes] = Counter()
    for piece, n in total.items():
        for start in range(0, len(piece), MAX_PIECE_LENGTH):
            count_by_piece[as_bytes(piece[start : start + MAX_PIECE_LENGTH])] += n
    return count_by_piece


def _batches(texts: Iterable[bytes | str]) -> Iterator[list[bytes | str]]:
    """Texts in lists of about BATCH_CHARACTERS, worth sending to another process."""
    batch: list[bytes | str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count_batch(batch: list[bytes | str], pattern: str) -> tuple[Counter[str], int]:
    counted: Counter[str] = Counter()
    size = 0
    for text in batch:
        counted.update(pieces(as_text(text), pattern))
        size += len(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return counted, size


def _counted(batches: Iterator[list[bytes | str]], pattern: str, processes: int) -> Iterator[tuple[Counter[str], int]]:
    """The count of each batch, here or in child processes that are never more than two batches ahead each."""
    first = list(islice(batches, N_WORTH_STARTING))
    if processes <= 1 or len(first) < N_WORTH_STARTING:
        for batch in chain(first, batches):
            yield _count_batch(batch, pattern)
        return
    # Spawned, not forked: a fork of a process that already runs threads (torch's) can hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[tuple[Counter[str], int]]] = deque()
        for batch in chain(first, batches):
            waiting.append(pool.submit(_count_batch, batch, pattern))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _forget_rarest(counted: Counter[str], max_pieces: int) -> None:
    """Thin out the rarest pieces until at most half of `max_pieces` are left, if there are more.

    Every second one goes: in Chinese, where a piece is a whole clause, nearly all pieces come once, and those that stay
    speak for those that went.
    """
    if len(counted) <= max_pieces:
        return
    rare = 1
    while len(counted) > max_pieces // 2:
        for piece in [piece for piece, n in counted.items() if n <= rare][::2]:
            del counted[piece]
        rare *= 2


# --- step 2: distinct pieces to merges ---

# A word is a string whose characters are ids: `chr(id)`. Joining a pair is then splitting at a string of two
# characters, and strings compare as their ids do.


def merge(count_by_piece: Mapping[bytes, int], n_merges: int, *, progress: Progress | None = None) -> np.ndarray:
    """The first `n_merges` merges, fewer if no pair is left: an array (n, 2) of the ids joined.

    Ids here are 0 to 255 for the bytes in alphabet order and 256 + k for the result of merge k.
    Of pairs that are equally frequent the one with the lower ids comes first, as in Hugging Face's trainer.

    >>> merge({b"abab": 2, b"abc": 1}, 2).tolist()  # "a" is 64, "b" is 65, so "ab" is merge 0, "abab" is merge 1
    [[64, 65], [256, 256]]
    """
    id_by_byte = bytes(BYTES_IN_ORDER.index(byte) for byte in range(256))
    words = [piece.translate(id_by_byte).decode("latin-1") for piece in count_by_piece]
    counts = list(count_by_piece.values())

    count_by_pair: defaultdict[str, int] = defaultdict(int)
    words_by_pair: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
    for index, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            count_by_pair[pair] += counts[index]
            words_by_pair[pair].append(index)

    heap = [(-n, pair) for pair, n in count_by_pair.items()]
    heapq.heapify(heap)
    merges: list[str] = []
    while len(merges) < n_merges and (pair := _most_frequent(heap, count_by_pair)):
        new = chr(256 + len(merges))
        merges.append(pair)
        created = set()
        for index in set(words_by_pair.pop(pair)):
            words[index], lost, gained = _join(words[index], pair, new)
            for neighbours in lost:
                count_by_pair[neighbours] -= counts[index]
            for neighbours in gained:
                count_by_pair[neighbours] += counts[index]
                words_by_pair[neighbours].append(index)
            created.update(gained)
        del count_by_pair[pair]
        for neighbours in created:
            heapq.heappush(heap, (-count_by_pair[neighbours], neighbours))
        if progress and len(merges) % 100 == 0:
            progress("merges", len(merges))
    if progress:
        progress("merges", len(merges))
    return np.array([(ord(left), ord(right)) for left, right in merges], dtype=np.uint32).reshape(-1, 2)


def _most_frequent(heap: list[tuple[int, str]], count_by_pair: Mapping[str, int]) -> str | None:
    """Take the most frequent pair off the heap of (-count, pair), or None when none is left.

    The heap is lazy: an entry keeps the count of when it was pushed, and counts only fall after that. So an outdated
    entry comes up too early, never too late, and is put back with the present count.
    """
    while heap:
        negative_count, pair = heapq.heappop(heap)
        present = count_by_pair[pair]
        if present > 0 and present == -negative_count:
            return pair
        if present > 0:
            heapq.heappush(heap, (-present, pair))
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
