"""Documents and conversations to ids, in any number of processes: the order, and so every byte, stays the same."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from groundup.data.cutting import cut
from groundup.data.token_files import check_ids, dtype_for
from groundup.errors import DataError, EnvironmentFault
from groundup.text.records import Conversation, Document, Message

if TYPE_CHECKING:
    from groundup.data.token_files import Ids
    from groundup.tokenizer.protocol import Tokenizer

Record = TypeVar("Record")
Task = TypeVar("Task")
Result = TypeVar("Result")

BATCH_CHARACTERS = 2**20
BATCH_RECORDS = 2048
BATCHES_HERE = 16
"""So many batches are encoded here first: a child process takes a second or two to start."""
STRETCH = 2**22


@dataclass(frozen=True, slots=True)
class Encoded:
    """One document or conversation as ids, and how many bytes of text they stand for.

    Of a conversation also `is_target` (uint8, as long as `ids`): 1 where the assistant's words are.
    `change` says what had to be done to make it fit: "", "turns" (oldest left out), "end" (cut off).
    """

    ids: np.ndarray
    n_bytes: int
    source: str = ""
    is_target: np.ndarray | None = None
    n_target_bytes: int = 0
    change: str = ""


# --- documents ---


def documents(records: Iterable[Document], tokenizer: "Tokenizer", processes: int = 1) -> Iterator[Encoded]:
    """The ids of each document with an end token behind them, in order. A document without text has no ids."""
    end_id(tokenizer)
    batches = _batches(records, lambda record: len(record.text))
    for encoded in _in_order(_encode_documents, batches, tokenizer, processes):
        yield from encoded


def _encode_documents(tokenizer: "Tokenizer", records: list[Document]) -> list[Encoded]:
    ids, offsets = tokenizer.encode_batch([record.text for record in records])
    check_ids(ids, tokenizer.vocab_size)
    ids = ids.astype(dtype_for(tokenizer.vocab_size))
    n_bytes = _byte_sums(ids, offsets, tokenizer)
    end = np.array([end_id(tokenizer)], dtype=ids.dtype)
    borders = offsets.astype(np.int64).tolist()
    return [
        Encoded(np.concatenate([ids[start:stop], end]) if stop > start else ids[:0], n_bytes[i], records[i].source)
        for i, (start, stop) in enumerate(zip(borders, borders[1:], strict=False))
    ]


def end_id(tokenizer: "Tokenizer") -> int:
    """The id that stands behind every document; DataError if the tokenizer has none."""
    if tokenizer.eos_id is None:
        raise DataError(
            "the tokenizer has no <|endoftext|>, so documents could not be told apart",
            hint="train one with `groundup tokenizer train`",
        )
    return tokenizer.eos_id


def _byte_sums(ids: np.ndarray, offsets: np.ndarray, tokenizer: "Tokenizer") -> list[int]:
    lengths = byte_lengths(tokenizer)
    totals = np.concatenate([[0], np.cumsum(lengths[ids])])
    return np.diff(totals[offsets.astype(np.int64)]).tolist()


def byte_lengths(tokenizer: "Tokenizer") -> np.ndarray:
    """How many bytes each id stands for, (vocab_size,) int64; 0 for special tokens."""
    return np.array([len(token) for token in tokenizer.token_bytes], dtype=np.int64)


def from_ids(ids: "Ids | np.ndarray", tokenizer: "Tokenizer", source: str = "") -> Iterator[Encoded]:
    """Documents that are ids already, as `.npy` or `.bin` files hold them: divided behind each end token."""
    lengths, dtype = byte_lengths(tokenizer), dtype_for(tokenizer.vocab_size)
    end, rest = np.array([end_id(tokenizer)], dtype=dtype), np.zeros(0, dtype=dtype)
    for start in range(0, len(ids), STRETCH):
        stretch = np.asarray(ids[start : start + STRETCH])
        check_ids(stretch, tokenizer.vocab_size, source)
        rest = np.concatenate([rest, stretch.astype(dtype)])
        borders = (np.flatnonzero(rest == end[0]) + 1).tolist()
        for begin, stop in zip([0, *borders], borders, strict=False):
            yield Encoded(
                rest[begin:stop] if stop > begin + 1 else end[:0], int(lengths[rest[begin:stop]].sum()), source
            )
        rest = rest[borders[-1] if borders else 0 :]
        if len(rest) > STRETCH:
            whole = cut(rest, STRETCH, tokenizer)
            yield Encoded(np.concatenate([whole, end]), int(lengths[whole].sum()), source)
            rest = rest[len(whole) :]
    if len(rest):
        yield Encoded(np.concatenate([rest, end]), int(lengths[rest].sum()), source)


# --- conversations ---


@dataclass(frozen=True)
class Rendering:
    """How conversations become ids: by which template, and with at most how many (None: as many as it takes)."""

    template: str
    max_ids: int | None


def conversations(
    records: Iterable[Conversation], tokenizer: "Tokenizer", rendering: Rendering, processes: int = 1
) -> Iterator[Encoded]:
    """The ids of each conversation and which of them are the assistant's, in order.

    One that is too long loses its oldest turns first, then the end of its last answer; it has no ids if not even the
    beginning of an answer fits.
    """

    def with_rendering(batch: list[Conversation]) -> tuple[Rendering, list[Conversation]]:
        return rendering, batch

    batches = _batches(records, lambda record: sum(len(message.content) for message in record.messages))
    for encoded in _in_order(_encode_conversations, map(with_rendering, batches), tokenizer, processes):
        yield from encoded


def _encode_conversations(tokenizer: "Tokenizer", task: tuple[Rendering, list[Conversation]]) -> list[Encoded]:
    rendering, records = task
    lengths = byte_lengths(tokenizer)
    return [_encode_conversation(tokenizer, record.messages, rendering, lengths) for record in records]


def _encode_conversation(
    tokenizer: "Tokenizer", messages: tuple[Message, ...], rendering: Rendering, lengths: np.ndarray
) -> Encoded:
    from groundup.tokenizer import chat

    change, limit = "", rendering.max_ids
    rendered = chat.render(messages, tokenizer, template=rendering.template)
    while limit is not None and len(rendered.ids) > limit:
        shorter = without_oldest_exchange(messages)
        if shorter is None:
            break
        messages, change = shorter, "turns"
        rendered = chat.render(messages, tokenizer, template=rendering.template)
    ids = rendered.ids
    if limit is not None and len(ids) > limit:
        ids, change = cut(ids, limit, tokenizer), "end"
    is_target = rendered.is_target[: len(ids)]
    if change == "end" and not is_target[1:].any():
        ids, is_target = ids[:0], is_target[:0]
    check_ids(ids, tokenizer.vocab_size)
    return Encoded(
        ids.astype(dtype_for(tokenizer.vocab_size)),
        int(lengths[ids].sum()),
        is_target=is_target.astype(np.uint8),
        n_target_bytes=int(lengths[ids[is_target]].sum()),
        change=change,
    )


def without_oldest_exchange(messages: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The conversation from its second user turn on, with the system prompt kept; None if it has no second one."""
    system = messages[:1] if messages and messages[0].role == "system" else ()
    users = [i for i, message in enumerate(messages) if message.role == "user"]
    later = [i for i in users if i > len(system)]
    if not later or not any(message.role == "assistant" for message in messages[later[0] :]):
        return None
    return system + messages[later[0] :]


# --- processes ---


def _batches(records: Iterable[Record], size: Callable[[Record], int]) -> Iterator[list[Record]]:
    batch, n_characters = [], 0
    for record in records:
        batch.append(record)
        n_characters += size(record)
        if n_characters >= BATCH_CHARACTERS or len(batch) >= BATCH_RECORDS:
            yield batch
            batch, n_characters = [], 0
    if batch:
        yield batch


def _in_order(
    work: Callable[["Tokenizer", Task], Result], batches: Iterator[Task], tokenizer: "Tokenizer", processes: int
) -> Iterator[Result]:
    """work(tokenizer, batch) for each batch, in order; at most two batches per process are under way."""
    for batch in islice(batches, BATCHES_HERE if processes > 1 else None):
        yield work(tokenizer, batch)
    following = next(batches, None)
    if following is None:
        return
    pool = ProcessPoolExecutor(
        processes,
        # A forked child would inherit locks of threads that do not run in it.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_child,
        initargs=(work, tokenizer),
    )
    waiting: deque[Future] = deque()
    try:
        for batch in chain([following], batches):
            waiting.append(pool.submit(_work_in_child, batch))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise EnvironmentFault(
            "a tokenising process was ended from outside, most likely for want of memory",
            hint="use fewer: --processes 1",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_child: tuple[Callable, "Tokenizer"] | None = None


def _start_child(work: Callable, tokenizer: "Tokenizer") -> None:
    global _child
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends the children
    _child = (work, tokenizer)


def _work_in_child(batch):
    assert _child is not None
    work, tokenizer = _child
    return work(tokenizer, batch)
