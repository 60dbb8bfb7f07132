"""The word tokenizer: the most frequent words are tokens, any other word is lost. To see what BPE is better than.

A word is a piece of the split pattern: with GPT-2's, a run of letters, of digits or of other marks with the one space
before it, or a run of spaces. "The" and " The" are two words.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer.character import SPECIALS, UNK
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.split import as_text, expression, pieces

MAX_VOCAB_SIZE = 1_000_000


class WordTokenizer(Tokenizer):
    """An id for each of the most frequent words.

    `decode(encode(text)) == text` for a text of known words, spaces and newlines included. Any other piece, with the
    space before it, becomes one `<|unk|>`, or is a DataError where there is no such token. Pieces with lone surrogates
    or bytes that are not UTF-8 are never known. Where words are not set apart by spaces or marks (Chinese), a piece is
    a whole clause and nearly all are unknown.

    tokens: the UTF-8 bytes of each id's word, b"" for special tokens.
    """

    kind = "word"

    def __init__(
        self,
        tokens: Sequence[bytes],
        special_ids: Mapping[str, int],
        pattern: str = "gpt2",
        *,
        roles: Mapping[str, str] | None = None,
        shown: Iterable[str] = (),
        chat_template: str | None = None,
    ):
        super().__init__(tokens, special_ids, roles=roles, shown=shown, chat_template=chat_template)
        self.pattern = pattern

    @classmethod
    def train(
        cls,
        texts: Iterable[str | bytes],
        vocab_size: int,
        *,
        pattern: str = "gpt2",
        special_tokens: Sequence[str] = SPECIALS,
    ) -> "WordTokenizer":
        """Special tokens first, then words by falling frequency, of equal ones the lower code points first.

        DataError: fewer distinct words than asked for. UsageError: a size that cannot be, an unusable special token.
        """
        for name in special_tokens:
            if list(special_tokens).count(name) > 1 or len(list(pieces(name, pattern))) < 2:
                raise UsageError(f"the special token {name!r} is given twice, or text could become a word of that name")
        if not len(special_tokens) < vocab_size <= MAX_VOCAB_SIZE:
            raise UsageError(
                f"a vocabulary of {vocab_size} words and special tokens cannot be",
                hint=f"use {len(special_tokens) + 1} to {MAX_VOCAB_SIZE}",
            )
        count: Counter[str] = Counter()
        for text in texts:
            count.update(pieces(as_text(text), pattern))
        words = sorted((word for word in count if _is_text(word)), key=lambda word: (-count[word], word))
        n_words = vocab_size - len(special_tokens)
        if len(words) < n_words:
            raise DataError(
                f"the text has {len(words)} distinct words, {n_words} are needed",
                hint=f"use a vocabulary of {len(special_tokens) + len(words)} or less, or more text",
            )
        tokens = [b""] * len(special_tokens) + [word.encode() for word in words[:n_words]]
        return cls(tokens, {name: i for i, name in enumerate(special_tokens)}, pattern)

    def __reduce__(self):
        options = {"roles": self.roles, "shown": self.shown, "chat_template": self.chat_template}
        return partial(WordTokenizer, **options), (self.token_bytes, self.special_ids, self.pattern)

    def _encode_texts(self, texts: Iterable[str | bytes], threads: int) -> tuple[np.ndarray, np.ndarray]:
        ids = array("I")
        offsets = array("Q", [0])
        for text in texts:
            ids.extend(map(self._id_by_word.__getitem__, pieces(as_text(text), self.pattern)))
            offsets.append(len(ids))
        return np.frombuffer(ids, np.uint32).copy(), np.frombuffer(offsets, np.uint64).copy()

    @cached_property
    def _id_by_word(self) -> "_Ids":
        ids = {token.decode(): i for i, token in enumerate(self.token_bytes) if token}
        return _Ids(ids, self.unk_id)

    def _identity(self) -> Iterator[bytes]:
        yield self.kind.encode()
        yield expression(self.pattern).encode()
        yield from super()._identity()
        yield repr(self.unk_id).encode()


class _Ids(dict[str, int]):
    """Id by word; an unknown word is the unknown token, or a DataError."""

    def __init__(self, ids: Mapping[str, int], unk_id: int | None):
        super().__init__(ids)
        self.unk_id = unk_id

    def __missing__(self, word: str) -> int:
        if self.unk_id is None:
            raise DataError(
                f"the word {word[:40]!r} is not in the vocabulary",
                hint=f"train the tokenizer on text that has it, or with the special token {UNK}",
            )
        return self.unk_id


def _is_text(word: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in word)
