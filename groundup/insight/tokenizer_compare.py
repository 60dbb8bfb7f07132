"""How well tokenizers suit texts: bytes per token, words kept whole, unknowns, speed, by language and kind of text."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import regex

from groundup.tokenizer.protocol import Tokenizer

SAMPLES = Path(__file__).parent / "samples"

UNSPACED = "".join(
    rf"\p{{scx={script}}}" for script in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
)
WORD = rf"[[\p{{L}}\p{{M}}]--[{UNSPACED}]]+"
"""A run of letters, in the scripts that put spaces between words; elsewhere a run of letters is a sentence."""
_word = regex.compile(WORD, regex.V1)
_word_with_space = regex.compile(f" ?{WORD}", regex.V1)


N_WARM = 1_500_000
"""Characters; after so many the compiled form serves, where there is one."""


@dataclass(frozen=True)
class Measure:
    """What a tokenizer makes of a text, or of many: counts, so that measures add up."""

    n_bytes: int = 0
    n_tokens: int = 0
    n_words: int = 0
    n_whole: int = 0
    n_unknown: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Measure") -> "Measure":
        return Measure(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def bytes_per_token(self) -> float | None:
        return self.n_bytes / self.n_tokens if self.n_tokens else None

    @property
    def whole_words(self) -> float | None:
        """The share of words that are one token, with a space or mark around them or without; None without words."""
        return self.n_whole / self.n_words if self.n_words else None

    @property
    def unknown(self) -> float | None:
        """The share of tokens that stand for what the vocabulary lacks."""
        return self.n_unknown / self.n_tokens if self.n_tokens else None

    @property
    def megabytes_per_second(self) -> float | None:
        return self.n_bytes / 1e6 / self.seconds if self.seconds else None


def samples() -> dict[str, str]:
    """The texts that come with groundup, by kind: a few hundred words each of several languages, code, a talk."""
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(SAMPLES.glob("*.txt"))}


def warm_up(tokenizer: Tokenizer, texts: Iterable[str]) -> None:
    """Let a tokenizer build its tables, and load what is quick on much text, before its speed is measured."""
    n = 0
    for text in texts:
        tokenizer.encode_batch([text[: max(1, N_WARM - n)]])
        n += len(text)
        if n >= N_WARM:
            break


def measure(tokenizer: Tokenizer, texts: Sequence[str]) -> Measure:
    """Encode texts in one go and count. The time is that of the encoding alone, on one thread."""
    started = time.perf_counter()
    ids, offsets = tokenizer.encode_batch(texts)
    seconds = time.perf_counter() - started
    n_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    n_unknown = 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum())
    n_words, n_whole = _words(tokenizer, texts, ids, offsets, n_bytes)
    return Measure(n_bytes, len(ids), n_words, n_whole, n_unknown, seconds)


def _words(
    tokenizer: Tokenizer, texts: Sequence[str], ids: np.ndarray, offsets: np.ndarray, n_bytes: int
) -> tuple[int, int]:
    """How many words there are, and how many of them are whole."""
    n_words = sum(len(_word.findall(text)) for text in texts)
    sizes = np.array([len(token) for token in tokenizer.token_bytes], np.int64)[ids]
    n_before = int(getattr(tokenizer, "add_dummy_prefix", False))  # the space that SentencePiece puts before a text
    if sizes.sum() != n_bytes + n_before * len(texts):  # unknown tokens have no bytes: where they end is not known
        return n_words, _n_one_token(tokenizer, texts)
    starts, stops = offsets[:-1].tolist(), offsets[1:].tolist()
    ends = (np.cumsum(sizes[start:stop]) - n_before for start, stop in zip(starts, stops, strict=True))
    return n_words, sum(map(_n_uncut, texts, ends))


def _n_uncut(text: str, ends: np.ndarray) -> int:
    """Words of a text that no border of tokens cuts. ends: where each token ends, in bytes."""
    spans = [match.span() for match in _word.finditer(text)]
    if not spans:
        return 0
    n_bytes_before = _byte_offsets(text)
    first, last = (n_bytes_before[np.array(side)] for side in zip(*spans, strict=True))
    # The first border after a word's start: the word is whole if it lies at the word's end or behind it.
    return int((ends[np.searchsorted(ends, first, side="right")] >= last).sum())


def _byte_offsets(text: str) -> np.ndarray:
    """For each character, and for the end, how many bytes stand before it."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    return np.concatenate([[0], np.cumsum(sizes)])


def _n_one_token(tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Words that are one known token, each asked for alone; with the space before it where tokens hold one."""
    shape = _word if tokenizer.kind == "character" else _word_with_space
    count_by_word = Counter(word for text in texts for word in shape.findall(text))
    words = list(count_by_word)
    ids, offsets = tokenizer.encode_batch(words)
    n_ids = np.diff(offsets.astype(np.int64))
    starts = offsets[:-1].tolist()
    is_whole = [n == 1 and ids[start] != tokenizer.unk_id for n, start in zip(n_ids.tolist(), starts, strict=True)]
    return sum(count_by_word[word] for word, whole in zip(words, is_whole, strict=True) if whole)


def total(measures: Iterable[Measure]) -> Measure:
    """All of them together."""
    return sum(measures, Measure())
