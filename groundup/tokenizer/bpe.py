"""Byte-level BPE: text to ids and ids to text.

Text is split into pieces, each piece is joined from bytes in the order the merges were learned. Special tokens are made
by id only: text that spells `<|endoftext|>` becomes ordinary tokens. Not here: training (train.py), files (files.py).
"""

import codecs
import hashlib
import heapq
from array import array
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from groundup.errors import DataError
from groundup.tokenizer.split import PATTERNS, as_bytes, as_text, pieces

END_OF_TEXT, END_OF_TURN, PAD = "<|endoftext|>", "<|im_end|>", "<|pad|>"

MAX_CACHED_PIECES = 200_000
MAX_CACHED_LENGTH = 64
"""Characters; a longer piece hardly ever comes twice."""


class Tokenizer:
    """Text to ids and back, with any bytes: `decode_bytes(encode(data)) == data` and `decode(encode(text)) == text`.

    tokens: the bytes of each id, b"" for special tokens. merges: pairs of ids in the order they were learned, (n, 2).
    special_ids: id by name. pattern: a name of `split.PATTERNS`. chat_template: Jinja, saved for other programs.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: np.ndarray | Sequence[tuple[int, int]],
        special_ids: dict[str, int],
        pattern: str = "gpt2",
        chat_template: str | None = None,
    ):
        self.token_bytes = list(tokens)
        self.merges = np.asarray(merges, dtype=np.uint32).reshape(-1, 2)
        self.special_ids = dict(special_ids)
        self.pattern = pattern
        self.chat_template = chat_template

        self.vocab_size = len(self.token_bytes)
        self.eos_id = self.special_ids.get(END_OF_TEXT)
        self.pad_id = self.special_ids.get(PAD)
        self.stop_ids = tuple(self.special_ids[name] for name in (END_OF_TEXT, END_OF_TURN) if name in self.special_ids)
        self._cache = _Cache(self._encode_piece)

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, pattern={self.pattern!r}, hash={self.hash[:8]})"

    def __reduce__(self):
        # The tables and the cache are left behind: a child process builds its own.
        return Tokenizer, (self.token_bytes, self.merges, self.special_ids, self.pattern, self.chat_template)

    # --- text to ids ---

    def encode(self, text: str | bytes) -> np.ndarray:
        """The ids of a text, uint32. Bytes need not be UTF-8, strings may hold lone surrogates."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Iterable[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts in one array, uint32, and where each begins: text i is `ids[offsets[i]:offsets[i + 1]]`.

        Offsets are uint64 and one more than the texts.
        """
        ids = array("I")
        offsets = array("Q", [0])
        ids_of_piece = self._cache.__getitem__
        for text in texts:
            ids.extend(chain.from_iterable(map(ids_of_piece, pieces(as_text(text), self.pattern))))
            offsets.append(len(ids))
        return np.frombuffer(ids, np.uint32).copy(), np.frombuffer(offsets, np.uint64).copy()

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        ids = [self._byte_ids[byte] for byte in as_bytes(piece)]
        join = join_short if len(ids) <= LONGEST_SCANNED else join_long
        return tuple(join(ids, self._ranks, self._results))

    @cached_property
    def _byte_ids(self) -> list[int]:
        """The id of each of the 256 bytes."""
        id_by_token = {token: i for i, token in enumerate(self.token_bytes)}
        return [id_by_token[bytes([byte])] for byte in range(256)]

    @cached_property
    def _ranks(self) -> dict[tuple[int, int], int]:
        """The rank of each pair of ids that can be joined: the lower, the sooner."""
        return {(left, right): rank for rank, (left, right) in enumerate(self.merges.tolist())}

    @cached_property
    def _results(self) -> list[int]:
        """The id that the merge of each rank makes."""
        tokens, id_by_token = self.token_bytes, {token: i for i, token in enumerate(self.token_bytes)}
        return [id_by_token[tokens[left] + tokens[right]] for left, right in self.merges.tolist()]

    # --- ids to text ---

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = True) -> bytes:
        """The bytes of the ids, special tokens left out or by name. DataError on an id outside the vocabulary."""
        table = self.token_bytes if skip_special else self._shown_bytes
        return b"".join(self._pick(table, ids))

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `decode_bytes`.

        Bytes that are not UTF-8 become U+FFFD, except that the three bytes of a lone surrogate become that surrogate
        again, so that every string survives. Such a string cannot be printed; for people, use `stream`.
        """
        return self.decode_bytes(ids, skip_special).decode("utf-8", "groundup-surrogate-or-replace")

    def stream(self, skip_special: bool = False) -> "Stream":
        """A decoder for ids that arrive one at a time."""
        return Stream(self, skip_special)

    @cached_property
    def _shown_bytes(self) -> list[bytes]:
        shown = list(self.token_bytes)
        for name, i in self.special_ids.items():
            shown[i] = name.encode()
        return shown

    def _pick(self, table: list[bytes], ids: Iterable[int]) -> list[bytes]:
        if isinstance(ids, np.ndarray):
            ids = ids.tolist()
        picked = []
        for i in map(int, ids):
            if not 0 <= i < len(table):
                raise DataError(f"token id {i} is outside the vocabulary of {self.vocab_size}")
            picked.append(table[i])
        return picked

    # --- identity and files ---

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all that decides the ids: pattern, tokens, merges, special tokens; not of the chat template."""
        digest = hashlib.sha256(PATTERNS[self.pattern].encode())
        digest.update(repr(sorted(self.special_ids.items())).encode())
        for token in self.token_bytes:
            digest.update(len(token).to_bytes(4, "little") + token)
        digest.update(self.merges.astype("<u4").tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | str) -> None:
        """Write the Hugging Face files into a folder, see files.py."""
        from groundup.tokenizer import files

        files.save(self, Path(folder))

    @staticmethod
    def load(path: Path | str) -> "Tokenizer":
        """Read a folder of Hugging Face files, or a `tokenizer.json`, see files.py."""
        from groundup.tokenizer import files

        return files.load(Path(path))


class _Cache(dict):
    """Piece to ids, computed at the first look-up and kept while there is room."""

    def __init__(self, encode_piece):
        self.encode_piece = encode_piece

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = self.encode_piece(piece)
        if len(piece) <= MAX_CACHED_LENGTH:
            if len(self) >= MAX_CACHED_PIECES:
                self.clear()
            self[piece] = ids
        return ids


class Stream:
    """Ids to text as they arrive. A character is given out when its last byte is there, never in part."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False):
        self._tokenizer = tokenizer
        self._table = tokenizer.token_bytes if skip_special else tokenizer._shown_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The text that this id completes, often its own, sometimes none."""
        return self._decoder.decode(self._tokenizer._pick(self._table, (id,))[0])

    def flush(self) -> str:
        """The end: U+FFFD if bytes of an unfinished character are left. The stream can then be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def _surrogate_or_replace(error: UnicodeError) -> tuple[str, int]:
    """What stands for bytes that are not UTF-8: the lone surrogate they spell, or U+FFFD."""
    assert isinstance(error, UnicodeDecodeError)
    try:
        return error.object[error.start : error.start + 3].decode("utf-8", "surrogatepass"), error.start + 3
    except UnicodeDecodeError:
        return "\ufffd", error.end


codecs.register_error("groundup-surrogate-or-replace", _surrogate_or_replace)


# --- joining a piece: the pair of lowest rank first, of equal ones the leftmost ---

LONGEST_SCANNED = 200
"""Bytes; above it, looking through the whole piece after each join costs more than a heap."""

NO_RANK = 1 << 60


def join_short(ids: list[int], ranks: dict[tuple[int, int], int], results: list[int]) -> list[int]:
    """Find the lowest rank by looking at all pairs, join it, look again. Changes and returns `ids`."""
    rank_of = ranks.get
    found = [rank_of(pair, NO_RANK) for pair in pairwise(ids)]
    while found and (best := min(found)) != NO_RANK:
        i = found.index(best)
        ids[i : i + 2] = [results[best]]
        del found[i]
        if i > 0:
            found[i - 1] = rank_of((ids[i - 1], ids[i]), NO_RANK)
        if i < len(found):
            found[i] = rank_of((ids[i], ids[i + 1]), NO_RANK)
    return ids


def join_long(ids: list[int], ranks: dict[tuple[int, int], int], results: list[int]) -> list[int]:
    """The same with a heap of candidates and a linked list of the ids left: n log n for a piece of any length."""
    n = len(ids)
    after = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    heap = [(ranks[pair], i, pair) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    gone = -1
    while heap:
        rank, i, pair = heapq.heappop(heap)
        j = after[i]
        if j >= n or (ids[i], ids[j]) != pair:
            continue  # one of the two was joined with another neighbour since
        ids[i], ids[j] = results[rank], gone
        after[i] = after[j]
        if after[j] < n:
            before[after[j]] = i
        for first in (before[i], i):
            if first >= 0 and after[first] < n:
                candidate = (ids[first], ids[after[first]])
                if candidate in ranks:
                    heapq.heappush(heap, (ranks[candidate], first, candidate))
    return [i for i in ids if i != gone]
