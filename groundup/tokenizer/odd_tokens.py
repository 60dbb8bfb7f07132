"""Tokens that one should know about: a model hardly ever sees them, or they are no text by themselves.

A token that training met and use never makes keeps a row of the embedding that was never moved. Asked for by its id,
a model may say anything: the "glitch tokens" of GPT-2 and GPT-3.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import regex

from groundup.tokenizer.bpe import BPE, join_short
from groundup.tokenizer.protocol import Tokenizer

LONG_RUN = 8
"""Equal characters one after the other."""


class Odd(NamedTuple):
    """A token and what is odd about it, a key of `REASONS`."""

    id: int
    token: bytes
    reason: str


def odd_tokens(tokenizer: Tokenizer) -> Iterator[Odd]:
    """Every odd token, once for each reason, by id. Special tokens and single bytes are not odd."""
    special = set(tokenizer.special_ids.values())
    unreachable = set(unreachable_ids(tokenizer)) if isinstance(tokenizer, BPE) else set()
    seen: set[bytes] = set()
    for i, token in enumerate(tokenizer.token_bytes):
        if i in special:
            continue
        if i in unreachable:
            yield Odd(i, token, "unreachable")
        if token and token in seen:
            yield Odd(i, token, "double")
        seen.add(token)
        if not token:
            yield Odd(i, token, "empty")
        elif len(token) > 1:
            for reason, is_odd in TESTS.items():
                if is_odd(token):
                    yield Odd(i, token, reason)


def unreachable_ids(tokenizer: BPE) -> list[int]:
    """Ids that encoding their own bytes does not give.

    Bytes that are text are encoded as a text of their own. Parts of a character never stand alone: for them the
    question is whether joining the bytes gives the token.
    """
    special = set(tokenizer.special_ids.values())
    ids = [i for i, token in enumerate(tokenizer.token_bytes) if token and i not in special]
    texts = [i for i in ids if _is_utf8(tokenizer.token_bytes[i])]
    encoded, offsets = tokenizer.encode_batch([tokenizer.token_bytes[i] for i in texts])
    starts, ends = offsets[:-1].tolist(), offsets[1:].tolist()
    found = {i for i, start, end in zip(texts, starts, ends, strict=True) if end != start + 1 or encoded[start] != i}
    for i in set(ids).difference(texts):
        token = tokenizer.token_bytes[i]
        as_bytes = [tokenizer.id_by_token[token[k : k + 1]] for k in range(len(token))]
        if join_short(as_bytes, tokenizer._ranks, tokenizer._results) != [i]:
            found.add(i)
    return sorted(found)


# --- what is odd about a token by itself ---


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _matches(expression: str) -> Callable[[bytes], bool]:
    compiled = regex.compile(expression)
    return lambda token: compiled.search(token.decode("utf-8", "ignore")) is not None


TESTS: dict[str, Callable[[bytes], bool]] = {
    "part of a character": lambda token: not _is_utf8(token),
    "control": _matches(r"[^\P{Cc}\t\n\r]"),
    "unassigned": _matches(r"[\p{Co}\p{Cn}\N{REPLACEMENT CHARACTER}]"),
    "only space": _matches(r"\A\s{2,}\Z"),
    "long run": _matches(rf"(\S)\1{{{LONG_RUN - 1},}}"),
}

REASONS = {
    "unreachable": "encoding its own bytes gives other ids",
    "double": "another token has the same bytes",
    "empty": "it has no bytes",
    "part of a character": "its bytes are no UTF-8 alone",
    "control": "it holds control characters",
    "unassigned": "it holds characters for private use, unassigned ones, or the sign for undecodable bytes",
    "only space": "nothing but white space",
    "long run": f"{LONG_RUN} or more equal characters in a row",
}
