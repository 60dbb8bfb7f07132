"""Training byte-level BPE: from text to a vocabulary of exactly the size asked for.

Two steps: `count` (text to distinct pieces) and `merge` (distinct pieces to merges). Each has a plain form (here,
counts.py and merges.py) and a compiled one (counter.py and merger.py), which takes over where there is much to do. The
result is the same, whatever the form, the number of threads and the order of the texts.
"""

import os.path
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer import compiled, counts, merges
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.chat_templates import CHATML
from groundup.tokenizer.counts import Counts
from groundup.tokenizer.merges import TIES
from groundup.tokenizer.protocol import END_OF_TEXT, END_OF_TURN, PAD, special_border
from groundup.tokenizer.segments import Job, jobs
from groundup.tokenizer.split import as_bytes, as_text, compiled_family, pieces
from groundup.tokenizer.split import compiled as compiled_pattern

DEFAULT_SPECIALS = (END_OF_TEXT, "<|im_start|>", END_OF_TURN, PAD)

MAX_VOCAB_SIZE = 1_000_000

MOST_PIECES = 1_000_000
"""Distinct pieces that plain counting keeps in memory; beyond it they are sorted and written to disk."""

WORTH_COMPILING = 200_000
"""Bytes of distinct pieces; the plain form merges fewer in less time than it takes to load the compiled one."""

WORTH_WAITING = 2_000_000
"""Bytes of distinct pieces; the plain form would need longer for more than the compiled one needs to be compiled."""

Progress = Callable[[str, int], None]
"""Called with ("bytes", bytes counted so far) and ("merges", merges found so far)."""


def train(
    texts: Iterable[bytes | str],
    vocab_size: int,
    *,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = DEFAULT_SPECIALS,
    ties: str = "huggingface",
    threads: int = 1,
    progress: Progress | None = None,
) -> BPE:
    """A tokenizer of exactly `vocab_size` tokens: the special tokens, the 256 bytes, then the merges, in this order.

    pattern: a name of `split.PATTERNS` or a regular expression. ties: which of equally frequent pairs is merged first,
    a name of `merges.TIES`; it also decides the order of the 256 bytes. Texts are not joined, and where a text spells a
    special token it is cut: no merge spans it.

    UsageError: an unknown pattern or tie, an unusable special token, a vocabulary smaller than special tokens + 256.
    DataError: no text, or too little for that many merges.
    """
    check_vocab_size(vocab_size, special_tokens, pattern, ties)
    found = count(texts, pattern, special_tokens=special_tokens, threads=threads, progress=progress)
    return learn(found, vocab_size, ties=ties, progress=progress)


def learn(counted: Counts, vocab_size: int, *, ties: str = "huggingface", progress: Progress | None = None) -> BPE:
    """`train` on text that is counted already."""
    special_tokens = counted.special_tokens
    check_vocab_size(vocab_size, special_tokens, counted.pattern)
    if not len(counted):
        raise DataError("there is no text to train a tokenizer on")
    n_first = len(special_tokens) + 256
    found = merge(counted, vocab_size - n_first, ties=ties, progress=progress)
    _check_enough(len(found), vocab_size - n_first, n_first)

    tokens = [b""] * len(special_tokens) + [bytes([byte]) for byte in TIES[ties].byte_order]
    pairs = found.astype(np.int64) + len(special_tokens)
    for left, right in pairs.tolist():
        tokens.append(tokens[left] + tokens[right])
    special_ids = {name: i for i, name in enumerate(special_tokens)}
    can_chat = set(CHATML.special_tokens) <= special_ids.keys()
    return BPE(tokens, pairs, special_ids, counted.pattern, CHATML.jinja if can_chat else None)


def extend(
    tokenizer: BPE, counted: Counts, vocab_size: int, *, ties: str = "huggingface", progress: Progress | None = None
) -> BPE:
    """A tokenizer with more merges, learned from these counts: every id that was there keeps its meaning.

    On the counts it was trained on, the result is that of training to the larger size at once.
    """
    if tokenizer.by_result or len({*tokenizer._results}) < len(tokenizer.merges):
        raise DataError("this tokenizer makes one token by several merges, so it cannot be extended")
    if tokenizer.missing_bytes:
        raise DataError("this tokenizer has no token for some bytes, so it cannot be extended")
    if counted.pattern != tokenizer.pattern:
        raise DataError(f"the text was split by {counted.pattern!r}, the tokenizer splits by {tokenizer.pattern!r}")
    if vocab_size <= tokenizer.vocab_size:
        raise UsageError(f"the tokenizer has {tokenizer.vocab_size} tokens already", hint="--vocab-size must be larger")
    if vocab_size > MAX_VOCAB_SIZE:
        raise UsageError(f"a vocabulary of {vocab_size} is too large", hint=f"use at most {MAX_VOCAB_SIZE}")
    byte_order = bytes(sorted(range(256), key=lambda byte: tokenizer.id_by_token[bytes([byte])]))
    ids = [*(tokenizer.id_by_token[bytes([byte])] for byte in byte_order), *tokenizer._results]
    number = {id: i for i, id in enumerate(ids)}  # as merges are numbered: bytes, then results
    never = len(ids)
    begun = [(number.get(left, never), number.get(right, never)) for left, right in tokenizer.merges.tolist()]
    if any(max(pair) >= 256 + i for i, pair in enumerate(begun)):
        raise DataError("this tokenizer merges tokens before they are made, so it cannot be extended")
    n_new = vocab_size - tokenizer.vocab_size
    found = merge(
        counted, len(begun) + n_new, ties=replace(_ties(ties), byte_order=byte_order), first=begun, progress=progress
    )
    _check_enough(len(found) - len(begun), n_new, tokenizer.vocab_size)

    tokens, pairs = list(tokenizer.token_bytes), tokenizer.merges.tolist()
    for left, right in found[len(begun) :].tolist():
        ids.append(len(tokens))
        pairs.append((ids[left], ids[right]))
        tokens.append(tokens[ids[left]] + tokens[ids[right]])
    return tokenizer.with_tokens(tokens, pairs)


def _check_enough(n_found: int, n_wanted: int, n_before: int) -> None:
    if n_found < n_wanted:
        raise DataError(
            f"only {n_found} merges are possible, {n_wanted} are needed: the text is too small",
            hint=f"use --vocab-size {n_before + n_found} or less, or more text",
        )


def _ties(name: str) -> merges.Ties:
    if name not in TIES:
        raise UsageError(f"unknown way to break ties {name!r}", hint=f"use one of: {', '.join(TIES)}")
    return TIES[name]


def check_vocab_size(vocab_size: int, special_tokens: Sequence[str], pattern: str, ties: str = "huggingface") -> None:
    """UsageError if bytes and special tokens do not fit, or a special token could also be made by merges."""
    _ties(ties)
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
        if len(compiled_pattern(pattern).findall(name)) < 2:
            raise UsageError(
                f"{name!r} cannot be a special token: text could be joined to a token of the same name",
                hint=f"mix letters and marks, such as '<|{name.strip() or 'name'}|>'",
            )


# --- step 1: text to distinct pieces ---


def count(
    texts: Iterable[bytes | str],
    pattern: str = "gpt2",
    *,
    special_tokens: Sequence[str] = (),
    threads: int = 1,
    progress: Progress | None = None,
) -> Counts:
    """How often each distinct piece occurs. While counting, memory is bounded: what is too much goes to disk.
    The compiled form leaves it there; the plain form gathers the distinct pieces in memory at the end.

    The bytes of a special token that a text spells are not counted, and nothing across them.
    """
    work = jobs(_without(special_tokens, texts), may_cut=compiled_family(pattern) is not None)
    n_bytes = 0
    spill = counts.Spill(MOST_PIECES)
    counter = None
    for job in work:
        if compiled_family(pattern) and compiled.serves(job.n_bytes, n_bytes + job.n_bytes):
            counter = compiled.load("counter").Counter(pattern)
            sizes = _Sizes(_after(job, work), n_bytes)
            counter.count(sizes, threads, lambda n, before=n_bytes: progress and progress("bytes", before + n))
            n_bytes = sizes.n_bytes
            break
        spill.add(_count_plainly(job, pattern))
        n_bytes += job.n_bytes
        if progress:
            progress("bytes", n_bytes)
    found = counts.from_items(spill.items(), pattern)
    if counter:
        if len(found):
            counter.add(found)
        found = counter.result()
    return replace(found, special_tokens=tuple(special_tokens), n_bytes=n_bytes)


def join(parts: Sequence[Counts]) -> Counts:
    """The counts of several corpora as one. DataError if they were split differently."""
    first = parts[0]
    for other in parts[1:]:
        first.check_same_kind(other)
    n_bytes = sum(part.n_bytes for part in parts)
    if len(parts) == 1:
        return first
    size = sum(len(part.pieces) for part in parts)
    if size > WORTH_COMPILING and compiled_family(first.pattern) and compiled.ready(wait=size > WORTH_WAITING):
        counter = compiled.load("counter").Counter(first.pattern)
        for part in parts:
            counter.add(part)
        found = counter.result()
    else:
        spill = counts.Spill(MOST_PIECES)
        for part in parts:
            spill.add(dict(part.items()))
        found = counts.from_items(spill.items(), first.pattern)
    return replace(found, special_tokens=first.special_tokens, n_bytes=n_bytes)


def _without(special_tokens: Sequence[str], texts: Iterable[bytes | str]) -> Iterator[bytes]:
    """The texts as bytes, cut where they spell a special token; of overlapping ones the longest counts."""
    border = special_border(special_tokens)
    beginning = os.path.commonprefix(list(special_tokens)).encode()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if special_tokens and data.find(beginning) >= 0:
            yield from filter(None, border.split(data))
        else:
            yield data


def _after(job: Job, work: Iterator[Job]) -> Iterator[Job]:
    yield job
    yield from work


class _Sizes:
    """Jobs as they come, and how many bytes they have had."""

    def __init__(self, work: Iterator[Job], n_bytes: int):
        self.work, self.n_bytes = work, n_bytes

    def __iter__(self) -> Iterator[Job]:
        for job in self.work:
            self.n_bytes += job.n_bytes
            yield job


def _count_plainly(job: Job, pattern: str) -> Counter[bytes]:
    counted: Counter[str] = Counter()
    for part in job.parts():
        counted.update(pieces(as_text(part), pattern))
    return Counter({as_bytes(piece): n for piece, n in counted.items()})


# --- step 2: distinct pieces to merges ---


def merge(
    counted: Counts,
    n_merges: int,
    *,
    ties: str | merges.Ties = "huggingface",
    first: Sequence[Sequence[int]] = (),
    progress: Progress | None = None,
) -> np.ndarray:
    """The first `n_merges` merges, fewer if no pair is left: (n, 2), numbered as in merges.merge."""
    rule = _ties(ties) if isinstance(ties, str) else ties
    tell = (lambda n: progress("merges", n)) if progress else None
    size = len(counted.pieces)
    if size > WORTH_COMPILING and compiled.ready(wait=size > WORTH_WAITING):
        id_by_byte = np.array([rule.byte_order.index(byte) for byte in range(256)], np.int32)
        return compiled.load("merger").merge(
            counted,
            n_merges,
            id_by_byte=id_by_byte,
            lexicographic=rule.greatest_bytes,
            first=np.array(first, np.int32) if len(first) else None,
            progress=tell,
        )
    return merges.merge(dict(counted.items()), n_merges, ties=rule, first=first, progress=tell)
