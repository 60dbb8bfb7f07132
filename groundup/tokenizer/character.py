"""The character tokenizer: each character is a token. The smallest vocabulary that is easy to read, for lessons and
small models; a sequence is as long as its text.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer.protocol import END_OF_TEXT, PAD, Tokenizer
from groundup.tokenizer.split import as_text

UNK = "<|unk|>"

SPECIALS = (END_OF_TEXT, PAD, UNK)

_UNKNOWN = (1 << 32) - 1


class CharacterTokenizer(Tokenizer):
    """An id for each code point that the training texts hold.

    `decode(encode(text)) == text` for a text of such characters. Any other becomes `<|unk|>`, or is a DataError where
    there is no such token. Lone surrogates and bytes that are not UTF-8 are no characters, so never known: each byte
    of them counts as an unknown character.

    tokens: the UTF-8 bytes of each id's character, b"" for special tokens.
    """

    kind = "character"

    def __init__(
        self,
        tokens: Sequence[bytes],
        special_ids: Mapping[str, int],
        *,
        roles: Mapping[str, str] | None = None,
        shown: Iterable[str] = (),
        chat_template: str | None = None,
    ):
        super().__init__(tokens, special_ids, roles=roles, shown=shown, chat_template=chat_template)
        if any(len(token.decode()) > 1 for token in self.token_bytes):
            raise UsageError("a token of a character tokenizer is more than one character")

    @classmethod
    def train(cls, texts: Iterable[str | bytes], *, special_tokens: Sequence[str] = SPECIALS) -> "CharacterTokenizer":
        """Special tokens first, then the characters in the order of their code points.

        DataError: no character. UsageError: a special token that is given twice, or is one character.
        """
        characters: set[str] = set()
        for text in texts:
            characters.update(as_text(text))
        known = sorted(c for c in characters if not "\ud800" <= c <= "\udfff")
        if not known:
            raise DataError("there is no text to train a tokenizer on")
        for name in special_tokens:
            if len(name) < 2 or list(special_tokens).count(name) > 1:
                raise UsageError(f"the special token {name!r} is given twice, or is only one character")
        tokens = [b""] * len(special_tokens) + [character.encode() for character in known]
        return cls(tokens, {name: i for i, name in enumerate(special_tokens)})

    def __reduce__(self):
        options = {"roles": self.roles, "shown": self.shown, "chat_template": self.chat_template}
        return partial(CharacterTokenizer, **options), (self.token_bytes, self.special_ids)

    def _encode_texts(self, texts: Iterable[str | bytes], threads: int) -> tuple[np.ndarray, np.ndarray]:
        found = [np.zeros(0, np.uint32)]
        offsets = array("Q", [0])
        for text in texts:
            found.append(self._ids(as_text(text)))
            offsets.append(offsets[-1] + len(found[-1]))
        return np.concatenate(found), np.frombuffer(offsets, np.uint64).copy()

    def _ids(self, text: str) -> np.ndarray:
        ids = self._id_by_code_point[np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")]
        unknown = np.flatnonzero(ids == _UNKNOWN)
        if len(unknown) and self.unk_id is None:
            at = int(unknown[0])
            raise DataError(
                f"the character {text[at]!r} (U+{ord(text[at]):04X}) is not in the vocabulary",
                where=f"character {at + 1} of the text",
                hint=f"train the tokenizer on text that has it, or with the special token {UNK}",
            )
        if len(unknown):
            ids[unknown] = self.unk_id
        return ids

    @cached_property
    def _id_by_code_point(self) -> np.ndarray:
        ids = np.full(0x110000, _UNKNOWN, np.uint32)
        for i, token in enumerate(self.token_bytes):
            if token:
                ids[ord(token.decode())] = i
        return ids

    def _identity(self) -> Iterator[bytes]:
        yield self.kind.encode()
        yield from super()._identity()
        yield repr(self.unk_id).encode()
