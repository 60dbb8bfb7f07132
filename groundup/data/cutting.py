"""Where a row of token ids may be cut: never inside a character, and if possible where the text pauses.

A byte-level token can end in the middle of a character, so a limit counted in tokens is not yet a place to cut.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from groundup.tokenizer.protocol import Tokenizer

PAUSES = (b"\n\n", b"\n", (b".", b"!", b"?", "。".encode(), "！".encode(), "？".encode()))
"""Ends of a token at which a text may be divided, the best first: blank line, line, sentence."""


def unfinished(tail: bytes) -> int:
    """How many bytes at the end of `tail` begin a UTF-8 character that is not complete there: 0 to 3.

    >>> unfinished("né".encode()), unfinished("né".encode()[:-1])
    (0, 1)
    """
    for back in range(1, min(4, len(tail) + 1)):
        byte = tail[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < length else 0
        if byte < 0x80:
            return 0
    return 0


def cut(ids: np.ndarray, n: int, tokenizer: "Tokenizer") -> np.ndarray:
    """The longest beginning of `ids` that has at most `n` of them and ends between two characters.

    Empty if the first character alone takes more than `n` ids.
    """
    end = min(n, len(ids))
    # Only a byte that continues a character can be torn from it.
    while 0 < end < len(ids) and 0x80 <= next(iter(tokenizer.token_bytes[int(ids[end])]), 0) < 0xC0:
        tail = b"".join(tokenizer.token_bytes[i] for i in ids[max(0, end - 4) : end].tolist())
        extra = unfinished(tail)
        if extra == 0:
            break
        while extra > 0:
            end -= 1
            extra -= len(tokenizer.token_bytes[int(ids[end])])
    return ids[:end]


def pieces(ids: np.ndarray, n: int, tokenizer: "Tokenizer") -> Iterator[np.ndarray]:
    """Divide ids into consecutive pieces of at most `n`, none of which cuts a character in two."""
    start = 0
    while start < len(ids):
        piece = cut(ids[start:], n, tokenizer)
        if len(piece) == 0:
            raise ValueError(f"a character takes more than {n} tokens; n must be at least 4")
        yield piece
        start += len(piece)


def pause_after(ids: np.ndarray, n: int, tokenizer: "Tokenizer") -> int:
    """Where to divide a text so that about its first `n` ids come before: the pause nearest to `n`.

    Blank lines are preferred to lines, lines to ends of sentences; each is looked for within a fifth of the shorter
    part. Without any, the last border between characters.
    """
    reach = max(1, min(n, len(ids) - n) // 5)
    nearby = sorted(range(max(1, n - reach), min(len(ids), n + reach + 1)), key=lambda i: abs(i - n))
    for pause in PAUSES:
        for i in nearby:
            if b"".join(tokenizer.token_bytes[j] for j in ids[max(0, i - 2) : i].tolist()).endswith(pause):
                return i
    return len(cut(ids, n, tokenizer))
