"""Byte-level BPE: text to ids.

Text is split into pieces, each piece is joined from bytes in the order the merges were learned. This is the plain form,
for reading, for small inputs and as the judge of the compiled one (encoder.py). Not here: training (train.py), decoding
and special tokens (protocol.py), files (files.py).
"""

import heapq
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, groupby, pairwise

import numpy as np

from groundup.tokenizer import compiled
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.segments import Job, jobs
from groundup.tokenizer.split import as_bytes, as_text, compiled_family, expression, pieces

MAX_CACHED_PIECES = 200_000
MAX_CACHED_LENGTH = 64
"""Characters; a longer piece hardly ever comes twice."""

MOST_COMPILED = 2**20
"""Tokens; the ids of more do not fit the words of encode_compiled.py."""

NO_RANK = 1 << 60


class BPE(Tokenizer):
    """Byte-level BPE with any bytes: `decode_bytes(encode(data)) == data` and `decode(encode(text)) == text`.

    merges: pairs of ids in the order they were learned, (n, 2). None if the order is that of the ids they make, as in
    tiktoken's files: then any two tokens whose bytes joined are a token may merge, the one of lowest id first.
    pattern: a name of `split.PATTERNS` or a regular expression. whole_first: a piece that is a token is taken whole,
    even where merges would not make it (`ignore_merges` in Llama 3's file). normalizer: "NFC" (Qwen), applied before
    splitting; text in another form then comes back in this one.
    """

    kind = "bpe"

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: np.ndarray | Sequence[tuple[int, int]] | None,
        special_ids: Mapping[str, int],
        pattern: str = "gpt2",
        chat_template: str | None = None,
        *,
        whole_first: bool = False,
        normalizer: str | None = None,
        roles: Mapping[str, str] | None = None,
        shown: Iterable[str] = (),
    ):
        super().__init__(tokens, special_ids, roles=roles, shown=shown, chat_template=chat_template)
        self.by_result = merges is None
        if merges is not None:
            self.merges = np.asarray(merges, dtype=np.uint32).reshape(-1, 2)
        self.pattern = pattern
        self.whole_first = whole_first
        self.normalizer = normalizer
        self._cache = _Cache(self._encode_piece)
        self._n_bytes = 0
        self._is_named = compiled_family(pattern) is not None
        self._can_be_compiled = self._is_named and self.vocab_size <= MOST_COMPILED

    def __reduce__(self):
        # The tables and the cache are left behind: a child process builds its own.
        return (
            _rebuild,
            (
                (self.token_bytes, None if self.by_result else self.merges, self.special_ids),
                {
                    "pattern": self.pattern,
                    "chat_template": self.chat_template,
                    "whole_first": self.whole_first,
                    "normalizer": self.normalizer,
                    "roles": self.roles,
                    "shown": self.shown,
                },
            ),
            {"adds_bos": self.adds_bos},
        )

    def with_tokens(self, tokens: Sequence[bytes], merges: np.ndarray | Sequence[tuple[int, int]] | None) -> "BPE":
        """This tokenizer with other tokens and merges, all else as it is."""
        _, options = self.__reduce__()[1]
        made = BPE(tokens, merges, self.special_ids, **options)
        made.adds_bos = self.adds_bos
        return made

    # --- text to ids ---

    def _encode_texts(self, texts: Iterable[str | bytes], threads: int) -> tuple[np.ndarray, np.ndarray]:
        ids: list[np.ndarray] = [np.zeros(0, np.uint32)]
        ends: list[np.ndarray] = [np.zeros(1, np.uint64)]
        total = 0
        work = jobs(map(self._as_bytes, texts), may_cut=self._is_named)
        for part_ids, part_ends in self.encode_jobs(work, threads):
            ids.append(part_ids)
            ends.append(part_ends + np.uint64(total))
            total += len(part_ids)
        return np.concatenate(ids), np.concatenate(ends)

    def encode_jobs(self, work: Iterator[Job], threads: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each job its ids and where in them its texts end, in order; plainly until the compiled form is ready."""
        for job in work:
            self._n_bytes += job.n_bytes
            if self._can_be_compiled and compiled.serves(job.n_bytes, self._n_bytes) and self._encoder:
                for has_all, group in groupby(chain((job,), work), self._has_all_bytes):
                    if has_all:
                        yield from self._encoder.encode(group, threads)
                    else:
                        yield from map(self._encode_job, group)
                return
            yield self._encode_job(job)

    def _encode_job(self, job: Job) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = self.encode_plainly(job.parts())
        return ids, offsets[1:][job.is_last]

    def _has_all_bytes(self, job: Job) -> bool:
        """Is there a token for every byte of the job? The kernels count on it."""
        return not self.missing_bytes or not np.isin(job.bytes, np.frombuffer(self.missing_bytes, np.uint8)).any()

    @cached_property
    def _encoder(self):
        encoder = compiled.load("encoder")
        try:
            return encoder.Encoder(self)
        except encoder.NotInOrder:
            return None

    def encode_plainly(self, texts: Iterable[str | bytes]) -> tuple[np.ndarray, np.ndarray]:
        """`encode_batch` in plain Python, however large the texts are, once they are normalized."""
        ids = array("I")
        offsets = array("Q", [0])
        ids_of_piece = self._cache.__getitem__
        for text in texts:
            ids.extend(chain.from_iterable(map(ids_of_piece, pieces(as_text(text), self.pattern))))
            offsets.append(len(ids))
        return np.frombuffer(ids, np.uint32).copy(), np.frombuffer(offsets, np.uint64).copy()

    def _as_bytes(self, text: str | bytes) -> bytes:
        if self.normalizer == "NFC":
            return as_bytes(unicodedata.normalize("NFC", as_text(text)))
        return text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")

    def _encode_piece(self, piece: str) -> tuple[int, ...]:
        data = as_bytes(piece)
        if self.whole_first and data in self.id_by_token:
            return (self.id_by_token[data],)
        return tuple(self.merge_plainly(data))

    def merge_plainly(self, piece: bytes) -> list[int]:
        """The ids that merging makes of one piece."""
        ids = [self._byte_ids[byte] for byte in piece.translate(None, self.missing_bytes)]
        join = join_short if len(ids) <= LONGEST_SCANNED else join_long
        return join(ids, self._ranks, self._results)

    # --- tables ---

    @cached_property
    def id_by_token(self) -> dict[bytes, int]:
        """The id of each token that text can become."""
        return {token: i for i, token in enumerate(self.token_bytes) if token}

    @cached_property
    def merges(self) -> np.ndarray:
        """Every pair of tokens that makes a token, in the order of what they make: (n, 2)."""
        pairs = []
        for token in sorted(self.id_by_token, key=self.id_by_token.__getitem__):
            halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
            known = [(self.id_by_token[a], self.id_by_token[b]) for a, b in halves if {a, b} <= self.id_by_token.keys()]
            pairs += sorted(known)
        return np.array(pairs, dtype=np.uint32).reshape(-1, 2)

    @cached_property
    def missing_bytes(self) -> bytes:
        """The bytes that have no token. Text loses them, as with `tokenizers`; SmolLM2 lacks 21, ours never any."""
        return bytes(byte for byte in range(256) if bytes([byte]) not in self.id_by_token)

    @cached_property
    def _byte_ids(self) -> list[int]:
        """The id of each of the 256 bytes; of a missing one the number of tokens, which is no id."""
        return [self.id_by_token.get(bytes([byte]), self.vocab_size) for byte in range(256)]

    @cached_property
    def _ranks(self) -> "Mapping[tuple[int, int], int]":
        """The rank of each pair of ids that can be joined: the lower, the sooner."""
        if self.by_result:
            return _RanksByResult(self.token_bytes, self.id_by_token)
        return _Ranks({(left, right): rank for rank, (left, right) in enumerate(self.merges.tolist())})

    @cached_property
    def _results(self) -> Sequence[int]:
        """The id that the merge of each rank makes."""
        if self.by_result:
            return range(self.vocab_size)
        tokens = self.token_bytes
        return [self.id_by_token[tokens[left] + tokens[right]] for left, right in self.merges.tolist()]

    def _identity(self) -> Iterator[bytes]:
        yield expression(self.pattern).encode()
        yield from super()._identity()
        yield b"by result" if self.by_result else self.merges.astype("<u4").tobytes()
        yield repr((self.whole_first, self.normalizer)).encode()


def _rebuild(arguments: tuple, options: dict) -> BPE:
    return BPE(*arguments, **options)


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


class _Ranks(dict):
    """Rank by pair, NO_RANK for one that cannot be joined."""

    def __missing__(self, pair: tuple[int, int]) -> int:
        return NO_RANK


class _RanksByResult(dict):
    """The rank of a pair where it is the id of what the pair makes; looked up once, then kept."""

    def __init__(self, tokens: list[bytes], id_by_token: dict[bytes, int]):
        self.tokens, self.id_by_token = tokens, id_by_token

    def __missing__(self, pair: tuple[int, int]) -> int:
        rank = self.id_by_token.get(self.tokens[pair[0]] + self.tokens[pair[1]], NO_RANK)
        if len(self) >= MAX_CACHED_PIECES:
            self.clear()
        self[pair] = rank
        return rank


# --- joining a piece: the pair of lowest rank first, of equal ones the leftmost ---

LONGEST_SCANNED = 200
"""Bytes; above it, looking through the whole piece after each join costs more than a heap."""


def join_short(ids: list[int], ranks: Mapping[tuple[int, int], int], results: Sequence[int]) -> list[int]:
    """Find the lowest rank by looking at all pairs, join it, look again. Changes and returns `ids`."""
    found = [ranks[pair] for pair in pairwise(ids)]
    while found and (best := min(found)) != NO_RANK:
        i = found.index(best)
        ids[i : i + 2] = [results[best]]
        del found[i]
        if i > 0:
            found[i - 1] = ranks[ids[i - 1], ids[i]]
        if i < len(found):
            found[i] = ranks[ids[i], ids[i + 1]]
    return ids


def join_long(ids: list[int], ranks: Mapping[tuple[int, int], int], results: Sequence[int]) -> list[int]:
    """The same with a heap of candidates and a linked list of the ids left: n log n for a piece of any length."""
    n = len(ids)
    after = list(range(1, n + 1))
    before = list(range(-1, n - 1))
    heap = [(ranks[pair], i, pair) for i, pair in enumerate(pairwise(ids)) if ranks[pair] != NO_RANK]
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
                if ranks[candidate] != NO_RANK:
                    heapq.heappush(heap, (ranks[candidate], first, candidate))
    return [i for i in ids if i != gone]
