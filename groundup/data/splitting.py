"""What is held out for validation: which documents, and of a single text which end.

The choice depends on the number of a document and the seed alone where there are many; never on time, on processes or
on the order in which a dictionary was filled.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

import numpy as np

from groundup.data.cutting import pause_after
from groundup.data.encoding import Encoded, byte_lengths
from groundup.data.shuffling import key_of, mix

if TYPE_CHECKING:
    from groundup.tokenizer.protocol import Tokenizer

SPLITS = ("train", "val")
FEW = 64
"""Up to this many documents are split by looking at their sizes; more than that by chance, as they come."""
TAIL_FRACTION = 0.1
"""The least that is held out of a single text, so that a short one leaves something to measure."""

Divided = Iterator[tuple[str, str, Encoded]]


def divide(records: Iterable[Encoded], divisible_by: "Tokenizer | None", val_fraction: float, seed: int) -> Divided:
    """Each record with its split and the rule that put it there.

    divisible_by: the tokenizer by which a document may be cut in two, None if records must stay whole.
    """
    records = iter(records)
    few = list(islice(records, FEW + 1))
    if val_fraction == 0:
        return (("train", "nothing held out", record) for record in chain(few, records))
    if len(few) <= FEW:
        return _divide_few(few, divisible_by, val_fraction, seed)
    return _divide_many(chain(few, records), val_fraction, seed)


def as_named(train: Iterable[Encoded], held_out: Iterable[Encoded]) -> Divided:
    """Two streams of records, each for its split as somebody said."""
    for name, records in zip(SPLITS, (train, held_out), strict=True):
        for record in records:
            yield name, "as named", record


def _divide_many(records: Iterable[Encoded], val_fraction: float, seed: int) -> Divided:
    """By chance; the last record makes up for it if chance gave a split nothing."""
    rule, threshold = "hash of the document's number", np.uint64(int(val_fraction * 2**64))
    held_back: tuple[str, Encoded] | None = None
    used: set[str] = set()
    for start, batch in _numbered(records, 1024):
        is_val = mix(np.arange(start, start + len(batch)), key_of(seed, 0)) < threshold
        for record, val in zip(batch, is_val.tolist(), strict=True):
            if held_back is not None:
                used.add(held_back[0])
                yield held_back[0], rule, held_back[1]
            held_back = ("val" if val else "train", record)
    if held_back is not None:
        missing = [name for name in SPLITS if name not in used]
        yield missing[0] if missing else held_back[0], rule, held_back[1]


def _numbered(records: Iterable[Encoded], size: int) -> Iterator[tuple[int, list[Encoded]]]:
    records, start = iter(records), 0
    while batch := list(islice(records, size)):
        yield start, batch
        start += len(batch)


def _divide_few(records: list[Encoded], divisible_by: "Tokenizer | None", val_fraction: float, seed: int) -> Divided:
    """Whole records up to about the share asked for; if even the smallest is too much, the end of the longest."""
    sizes = np.array([len(record.ids) for record in records], dtype=np.int64)
    held_out = _nearest_share(sizes, val_fraction, seed, max_share=0.5 if divisible_by is None else 0.25)
    if held_out or divisible_by is None or not records:
        for i, record in enumerate(records):
            yield "val" if i in held_out else "train", "whole documents near the share asked for", record
        return
    longest = int(sizes.argmax())
    for i, record in enumerate(records):
        rule = "the end of the longest document"
        if i != longest:
            yield "train", rule, record
            continue
        head, tail = _cut_tail(record, max(val_fraction, TAIL_FRACTION), divisible_by)
        yield "train", rule, head
        if tail is not None:
            yield "val", rule, tail


def _nearest_share(sizes: np.ndarray, val_fraction: float, seed: int, max_share: float) -> set[int]:
    """Numbers of records to hold out, taken in the order of their hashes while they fit twice the share; else the
    smallest record if it is no more than `max_share` of everything; else none."""
    total, chosen, taken = int(sizes.sum()), set(), 0
    if len(sizes) < 2:
        return chosen
    for i in np.argsort(mix(np.arange(len(sizes)), key_of(seed, 0)), kind="stable").tolist():
        if taken < val_fraction * total and taken + int(sizes[i]) <= 2 * val_fraction * total:
            chosen.add(i)
            taken += int(sizes[i])
    smallest = int(sizes.argmin())
    if not chosen and int(sizes[smallest]) <= max_share * total:
        chosen.add(smallest)
    return chosen if len(chosen) < len(sizes) else set()


def _cut_tail(record: Encoded, fraction: float, tokenizer: "Tokenizer") -> tuple[Encoded, Encoded | None]:
    """A document as its beginning and its end, divided at a pause; the end is None when the text is a few tokens."""
    text, end = record.ids[:-1], record.ids[-1:]
    border = pause_after(text, round(len(text) * (1 - fraction)), tokenizer) if len(text) >= 20 else 0
    if not 0 < border < len(text):
        return record, None
    lengths = byte_lengths(tokenizer)
    head, tail = (np.concatenate([part, end]) for part in (text[:border], text[border:]))
    return (
        Encoded(head, int(lengths[head].sum()), record.source),
        Encoded(tail, int(lengths[tail].sum()), record.source),
    )
