"""SentencePiece BPE with byte fallback, as Llama 2 uses it: text to ids and back.

There are no pieces of text here: a space becomes "▁" (U+2581), one is put before the text, and all characters are
joined as one sequence, at any time the two neighbours whose join has the best score, of equal ones the leftmost. A
character that is no token becomes the tokens of its UTF-8 bytes. Kudo, Richardson 2018
(https://arxiv.org/abs/1808.06226). Reading the .model files is in sentencepiece_file.py.

Ids are those of the `sentencepiece` package, with one difference: it makes a space of a "▁" that the text itself holds,
here such a character becomes its bytes, so that every text comes back. User-defined symbols are made from text only
where `allow_special` names them, as other added tokens.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain

import numpy as np

from groundup.errors import ArtefactError
from groundup.tokenizer.protocol import Stream, Tokenizer, _cut
from groundup.tokenizer.sentencepiece_joins import Join, Joins, JoinsByScore, join
from groundup.tokenizer.split import as_bytes, as_text

SPACE = "▁"
_SPELLED_SPACE = as_text(SPACE.encode()[:2]) + as_text(SPACE.encode()[2:])
"""A "▁" of the text itself as three bytes apart, in the form that `as_text` gives bytes."""

_WORDS = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")
"""A run of "▁" and what follows it, and each newline."""

MAX_CACHED = 200_000
"""Words."""
MAX_CACHED_LENGTH = 64
"""Characters; a longer word hardly ever comes twice."""


class SentencePieceBPE(Tokenizer):
    """SentencePiece BPE: `decode(encode(text)) == text` for every text, `decode_bytes(encode(data)) == data` for bytes.

    pieces: the text of each id, with "▁" for spaces, `<0x41>` for the byte 0x41, "" for added tokens. How pieces join
    is said by `merges`, pairs of ids in order, or by `scores`, the higher the sooner; one of the two is None.
    add_dummy_prefix: a space is put before each text that is encoded, and taken off again by decoding.
    """

    kind = "sentencepiece"

    def __init__(
        self,
        pieces: Sequence[str],
        special_ids: Mapping[str, int],
        *,
        merges: Sequence[tuple[int, int]] | None = None,
        scores: Sequence[float] | None = None,
        add_dummy_prefix: bool = True,
        roles: Mapping[str, str] | None = None,
        shown: Iterable[str] = (),
        chat_template: str | None = None,
    ):
        self.pieces = list(pieces)
        self._byte_ids = byte_ids(self.pieces)
        tokens = [piece.replace(SPACE, " ").encode() for piece in self.pieces]
        for byte, i in enumerate(self._byte_ids):
            tokens[i] = bytes([byte])
        super().__init__(tokens, special_ids, roles=roles, shown=shown, chat_template=chat_template)
        self.merges = None if merges is None else [(left, right) for left, right in merges]
        self.scores = None if scores is None else list(scores)
        self.add_dummy_prefix = add_dummy_prefix
        self._cache: dict[str, tuple[int, ...]] = {}

    def __reduce__(self):
        options = {
            "merges": self.merges,
            "scores": self.scores,
            "add_dummy_prefix": self.add_dummy_prefix,
            "roles": self.roles,
            "shown": self.shown,
            "chat_template": self.chat_template,
        }
        return partial(SentencePieceBPE, **options), (self.pieces, self.special_ids), {"adds_bos": self.adds_bos}

    # --- text to ids ---

    def _encode_texts(self, texts: Iterable[str | bytes], threads: int) -> tuple[np.ndarray, np.ndarray]:
        ids = array("I")
        offsets = array("Q", [0])
        for text in texts:
            ids.extend(self._ids(text))
            offsets.append(len(ids))
        return np.frombuffer(ids, np.uint32).copy(), np.frombuffer(offsets, np.uint64).copy()

    def encode_iterable(self, chunks: Iterable[str], *, allow_special: Iterable[str] | str = ()) -> Iterator[int]:
        """The ids of the chunks joined, one at a time; in memory is what lies between two spaces or newlines, or all of
        it where a piece of this model reaches over them, or an allowed special token has one in its name.
        """
        border = self._border(allow_special) if allow_special else None
        begins = True
        for text in self._between_words(chunks, border[1] if border else ()):
            for part in _cut(text, border) if border else (text,):
                if isinstance(part, int):
                    yield part
                else:
                    yield from self._ids(part, begins)
                begins = isinstance(part, int)

    def _between_words(self, chunks: Iterable[str], names: Iterable[bytes]) -> Iterator[str]:
        """The same text in parts that end where no join reaches over, and no name either."""
        if not self._cuts_words or any(b" " in name or b"\n" in name for name in names):
            chunks = ["".join(chunks)]
        held: list[str] = []
        for chunk in chunks:
            last_run = len(chunk[: chunk.rfind(" ") + 1].rstrip(" "))
            end = max(last_run, chunk.rfind("\n") + 1)
            if end and self._cuts_words:
                yield "".join([*held, chunk[:end]])
                held, chunk = [], chunk[end:]
            held.append(chunk)
        if rest := "".join(held):
            yield rest

    def _ids(self, text: str | bytes, begins: bool = True) -> Iterator[int]:
        """The ids of a text, or of what follows in one."""
        prepared = as_text(text).replace(SPACE, _SPELLED_SPACE).replace(" ", SPACE)
        if prepared and begins and self.add_dummy_prefix:
            prepared = SPACE + prepared
        if not self._cuts_words:
            return iter(self._encode_word(prepared))
        return chain.from_iterable(map(self._encode_word, _WORDS.findall(prepared)))

    def _encode_word(self, word: str) -> tuple[int, ...]:
        ids = self._cache.get(word)
        if ids is None:
            ids = tuple(self._with_bytes(join(self._symbols(word), self._joins)))
            if len(word) <= MAX_CACHED_LENGTH:
                if len(self._cache) >= MAX_CACHED:
                    self._cache.clear()
                self._cache[word] = ids
        return ids

    def _symbols(self, word: str) -> list[int]:
        """The id of each character, and for those that are no piece their code point behind all ids."""
        return [self._piece_ids.get(character, self.vocab_size + ord(character)) for character in word]

    def _with_bytes(self, symbols: Iterable[int]) -> Iterator[int]:
        for symbol in symbols:
            if symbol < self.vocab_size:
                yield symbol
            else:
                for byte in as_bytes(chr(symbol - self.vocab_size)):
                    yield self._byte_ids[byte]

    # --- ids to text ---

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = True) -> bytes:
        """The bytes of the ids without the space that was put before the text: the one that the first token that is
        not special begins with. DataError on an id outside the vocabulary.
        """
        ids = ids.tolist() if isinstance(ids, np.ndarray) else list(map(int, ids))
        picked = self._pick(self._table(skip_special), ids)
        for i, first in enumerate(ids):
            if first in self._has_space:
                picked[i] = picked[i][1:]
            if first not in self._special:
                break
        return b"".join(picked)

    def stream(self, skip_special: bool = False) -> Stream:
        """A decoder for ids that arrive one at a time, from the beginning of a text: its first space is left out."""
        return _StreamOfText(self, skip_special)

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.special_ids.values())

    @cached_property
    def _has_space(self) -> frozenset[int]:
        """Ids of pieces that begin with the space that may have been put before the text."""
        if not self.add_dummy_prefix:
            return frozenset()
        return frozenset(i for i, piece in enumerate(self.pieces) if piece.startswith(SPACE))

    # --- tables ---

    @cached_property
    def _piece_ids(self) -> dict[str, int]:
        """The id of each piece that text can become."""
        not_text = {*self._byte_ids, *self.special_ids.values()}
        return {piece: i for i, piece in enumerate(self.pieces) if piece and i not in not_text}

    @cached_property
    def _cuts_words(self) -> bool:
        """Whether no piece reaches over the ends of _WORDS, so that each is joined on its own."""
        return not any(re.search(f"[^{SPACE}]{SPACE}|.\n|\n.", piece, re.DOTALL) for piece in self._piece_ids)

    @cached_property
    def _joins(self) -> "Mapping[tuple[int, int], Join | None]":
        if self.merges is None:
            return JoinsByScore(self.pieces, self._piece_ids, self.scores or [0.0] * len(self.pieces))
        pieces, ids = self.pieces, self._piece_ids
        return Joins({(a, b): (rank, ids[pieces[a] + pieces[b]]) for rank, (a, b) in enumerate(self.merges)})

    def _identity(self) -> Iterator[bytes]:
        yield self.kind.encode()
        yield from super()._identity()
        yield repr((self.pieces, self.merges, self.scores, self.add_dummy_prefix)).encode()


class _StreamOfText(Stream):
    def __init__(self, tokenizer: SentencePieceBPE, skip_special: bool):
        super().__init__(tokenizer, skip_special)
        self._begins = True
        self._special, self._has_space = tokenizer._special, tokenizer._has_space

    def push(self, id: int) -> str:
        text = super().push(id)
        if self._begins and id not in self._special:
            self._begins = False
            return text[1:] if id in self._has_space else text
        return text

    def flush(self) -> str:
        self._begins = True
        return super().flush()


def byte_ids(pieces: Sequence[str], where: str | None = None) -> list[int]:
    """The id of the piece of each byte, `<0x00>` to `<0xFF>`. ArtefactError if one is missing."""
    ids = {piece: i for i, piece in enumerate(pieces) if re.fullmatch("<0x[0-9A-F]{2}>", piece)}
    if len(ids) < 256:
        raise ArtefactError(f"{256 - len(ids)} of the 256 bytes are not in the vocabulary", where=where)
    return [ids[f"<0x{byte:02X}>"] for byte in range(256)]
