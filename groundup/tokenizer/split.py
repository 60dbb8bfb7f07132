"""Text into pieces: the patterns that decide what a token may span. A merge never crosses the border of a piece.

Pieces are strings, because the patterns ask for letters (`\\p{L}`) and numbers (`\\p{N}`) of every script. Bytes that
are not UTF-8 travel through strings as Python's surrogate escapes and come out again unchanged, see `as_text`.
"""

from collections.abc import Iterable, Iterator
from functools import cache

import regex

from groundup.errors import UsageError

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""Words with the space before them; runs of digits; runs of other marks; spaces. OpenAI, `gpt-2/src/encoder.py`."""

CL100K = (
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"""
    r"""| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
"""GPT-4's: any one mark may lead a word, digits in groups of at most three, line ends apart. OpenAI, `tiktoken`."""

LARGEST_LISTED = 4_000_000
"""Characters; of longer texts the pieces are handed out one by one instead of as a list, to bound memory."""

O200K = (
    r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
    r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
"""GPT-4o's: as CL100K, but a capital begins a new word, and a contraction stays with its word. OpenAI, `tiktoken`."""

QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
"""CL100K with every digit alone."""

SMOLLM = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"""
"""GPT2 with every digit alone: SmolLM2's file cuts out digits first, then splits what is left, so that spaces before a
digit stay together."""

PATTERNS = {
    "gpt2": GPT2,
    "cl100k": CL100K,
    "o200k": O200K,
    "llama3": CL100K,  # Llama 3 took GPT-4's pattern unchanged (meta-llama/llama3, tokenizer.py)
    "qwen2": QWEN2,
    "smollm": SMOLLM,
}


FAMILIES = {GPT2: (0, 0), SMOLLM: (0, 1), CL100K: (1, 3), QWEN2: (1, 1), O200K: (2, 3)}
"""For split_compiled.py: its family of patterns, and how many numbers at most make a piece (0: all)."""


def compiled_family(pattern: str) -> tuple[int, int] | None:
    """How the compiled splitter knows a pattern, None if it does not."""
    return FAMILIES.get(expression(pattern))


def expression(pattern: str) -> str:
    """The regular expression of a named pattern; any other text is one itself."""
    return PATTERNS.get(pattern, pattern)


@cache
def compiled(pattern: str) -> regex.Pattern:
    """The compiled regular expression of a pattern. UsageError on an unknown name, or one that does not compile."""
    if pattern not in PATTERNS and regex.fullmatch(r"[\w-]*", pattern):
        raise UsageError(
            f"unknown split pattern {pattern!r}", hint=f"use one of {', '.join(PATTERNS)}, or a regular expression"
        )
    try:
        return regex.compile(expression(pattern))
    except regex.error as error:
        raise UsageError(
            f"{pattern!r} is no split pattern: {error}",
            hint=f"use one of {', '.join(PATTERNS)}, or a regular expression",
        ) from error


def pieces(text: str, pattern: str) -> Iterable[str]:
    """The pieces of a text, in order; joined they are the text.

    >>> list(pieces("I've 2 cats", "gpt2"))
    ['I', "'ve", ' 2', ' cats']
    """
    if pattern not in PATTERNS:
        return _matches_and_gaps(text, compiled(pattern))
    if len(text) <= LARGEST_LISTED:
        return compiled(pattern).findall(text)
    return (match.group() for match in compiled(pattern).finditer(text))


def _matches_and_gaps(text: str, expression: regex.Pattern) -> Iterator[str]:
    """The pieces by a pattern that may leave text out: what lies between two matches is a piece too."""
    end = 0
    for match in expression.finditer(text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield match.group()
        end = match.end()
    if end < len(text):
        yield text[end:]


def as_text(text: str | bytes) -> str:
    """Any input in the one form that is split: `as_bytes(as_text(data)) == data` for all bytes.

    A byte that is not part of valid UTF-8 becomes a surrogate escape (U+DC80 to U+DCFF). A lone surrogate in a string,
    which UTF-8 has no bytes for, is first given the three bytes it would have (`surrogatepass`).
    """
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return text


def as_bytes(piece: str) -> bytes:
    """The bytes of a piece that was cut from `as_text`."""
    return piece.encode("utf-8", "surrogateescape")
