"""What every tokenizer is: text to ids and back. How text becomes ids is said in bpe.py, character.py, word.py and
sentencepiece.py; the files they are saved in, in files.py.

Special tokens are made by id only: text that spells `<|endoftext|>` becomes ordinary tokens, unless `allow_special`
names it. Bytes need not be UTF-8 and strings may hold lone surrogates, see split.as_text.
"""

import codecs
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer import compiled

END_OF_TEXT, END_OF_TURN, PAD = "<|endoftext|>", "<|im_end|>", "<|pad|>"

NAMES_BY_ROLE = {
    "bos": ("<|begin_of_text|>", "<s>"),
    "eos": (END_OF_TEXT, "<|end_of_text|>", "</s>"),
    "pad": (PAD, "<|finetune_right_pad_id|>", "<pad>"),
    "unk": ("<|unk|>", "<unk>"),
}
"""Which special token has a role when nobody says: the first of these that is there."""

ENDS_OF_TURN = (END_OF_TURN, "<|eot_id|>", "<|eom_id|>")

ALL = "all"


class Tokenizer(ABC):
    """Text to ids and back.

    token_bytes: the bytes of each id, b"" for special tokens. special_ids: id by name, all added tokens.
    roles: name of a special token by role (bos, eos, pad, unk). shown: added tokens that are text to a reader, such as
    `<think>`, and stay when special tokens are skipped. chat_template: Jinja, saved for other programs.
    """

    kind: ClassVar[str]
    pattern: str = ""
    """Where text is split, a name of `split.PATTERNS` or a regular expression; "" where nothing is."""
    adds_bos: bool = False
    """Whether its model expects `bos` before a text. `encode` never adds it; prompts begin with it."""

    def __init__(
        self,
        tokens: Sequence[bytes],
        special_ids: Mapping[str, int],
        *,
        roles: Mapping[str, str] | None = None,
        shown: Iterable[str] = (),
        chat_template: str | None = None,
    ):
        self.token_bytes = list(tokens)
        self.special_ids = dict(special_ids)
        self.roles = dict(_roles(self.special_ids) if roles is None else roles)
        self.shown = frozenset(shown)
        self.chat_template = chat_template

        self.vocab_size = len(self.token_bytes)
        self.bos_id, self.eos_id, self.pad_id, self.unk_id = (
            self.special_ids.get(self.roles.get(role, "")) for role in NAMES_BY_ROLE
        )
        ends = (self.roles.get("eos", ""), *ENDS_OF_TURN)
        self.stop_ids = tuple(dict.fromkeys(self.special_ids[name] for name in ends if name in self.special_ids))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocab_size={self.vocab_size}, pattern={self.pattern!r}, hash={self.hash[:8]})"

    # --- text to ids ---

    @abstractmethod
    def _encode_texts(self, texts: Iterable[str | bytes], threads: int) -> tuple[np.ndarray, np.ndarray]:
        """`encode_batch` of texts without special tokens."""

    def encode(self, text: str | bytes, *, allow_special: Iterable[str] | str = ()) -> np.ndarray:
        """The ids of a text, uint32."""
        return self.encode_batch([text], allow_special=allow_special)[0]

    def encode_batch(
        self, texts: Iterable[str | bytes], *, allow_special: Iterable[str] | str = (), threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of all texts in one array, uint32, and where each begins: text i is `ids[offsets[i]:offsets[i + 1]]`.

        Offsets are uint64 and one more than the texts. allow_special: names of special tokens that text may spell, or
        "all"; of overlapping ones the longest is taken. UsageError on a name that is no special token.
        """
        if not allow_special:
            return self._encode_texts(texts, threads)
        border = self._border(allow_special)
        pieces = [list(_cut(text, border)) for text in texts]
        plain, starts = self._encode_texts((p for parts in pieces for p in parts if not isinstance(p, int)), threads)
        encoded = (plain[a:b] for a, b in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
        ids: list[np.ndarray] = []
        offsets = [0]
        for parts in pieces:
            found = [np.array([p], np.uint32) if isinstance(p, int) else next(encoded) for p in parts]
            ids += found
            offsets.append(offsets[-1] + sum(map(len, found)))
        return np.concatenate([np.zeros(0, np.uint32), *ids]), np.array(offsets, np.uint64)

    def encode_iterable(self, chunks: Iterable[str], *, allow_special: Iterable[str] | str = ()) -> Iterator[int]:
        """The ids of the chunks joined, one at a time, in constant memory: `encode_iterable(open(file))`."""
        from groundup.tokenizer.streaming import encode_chunks

        return chain.from_iterable(ids.tolist() for ids in encode_chunks(self, chunks, allow_special))

    def encode_file(
        self,
        source: Path | str,
        out: Path | str,
        *,
        ids_per_shard: int = 100_000_000,
        allow_special: Iterable[str] | str = (),
        threads: int = 1,
    ) -> list[Path]:
        """The ids of a file of any size as shards in the new folder `out`, see streaming.encode_file."""
        from groundup.tokenizer.streaming import encode_file

        return encode_file(self, source, out, ids_per_shard=ids_per_shard, allow_special=allow_special, threads=threads)

    def _border(self, allow_special: Iterable[str] | str) -> "tuple[re.Pattern[bytes], dict[bytes, int]]":
        names = set(self.special_ids) if allow_special == ALL else set(allow_special)
        for name in names - set(self.special_ids):
            raise UsageError(
                f"{name!r} is no special token of this tokenizer",
                hint=f"its special tokens are {', '.join(self.special_ids) or 'none'}",
            )
        return special_border(names), {name.encode(): self.special_ids[name] for name in names}

    # --- ids to text ---

    def decode_bytes(self, ids: Iterable[int], skip_special: bool = True) -> bytes:
        """The bytes of the ids, special tokens left out or by name. DataError on an id outside the vocabulary."""
        if isinstance(ids, np.ndarray) and compiled.serves(ids.nbytes, ids.nbytes):
            return self._decoders[skip_special].decode(ids)
        return self.decode_plainly(ids, skip_special)

    def decode_plainly(self, ids: Iterable[int], skip_special: bool = True) -> bytes:
        """`decode_bytes` in plain Python."""
        return b"".join(self._pick(self._table(skip_special), ids))

    @cached_property
    def _decoders(self) -> dict[bool, Any]:
        decoder = compiled.load("decoder")
        return {skip_special: decoder.Decoder(self._table(skip_special)) for skip_special in (True, False)}

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `decode_bytes`.

        Bytes that are not UTF-8 become U+FFFD, except that the three bytes of a lone surrogate become that surrogate
        again, so that every string survives. Such a string cannot be printed; for people, use `stream`.
        """
        return self.decode_bytes(ids, skip_special).decode("utf-8", "groundup-surrogate-or-replace")

    def stream(self, skip_special: bool = False) -> "Stream":
        """A decoder for ids that arrive one at a time."""
        return Stream(self, skip_special)

    def _table(self, skip_special: bool) -> list[bytes]:
        return self._read_bytes if skip_special else self._shown_bytes

    @cached_property
    def _shown_bytes(self) -> list[bytes]:
        return self._with_names(self.special_ids)

    @cached_property
    def _read_bytes(self) -> list[bytes]:
        return self._with_names(self.shown)

    def _with_names(self, names: Iterable[str]) -> list[bytes]:
        table = list(self.token_bytes)
        for name in names:
            table[self.special_ids[name]] = name.encode()
        return table

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
        """SHA-256 of all that decides the ids; not of the chat template."""
        digest = hashlib.sha256()
        for part in self._identity():
            digest.update(part)
        return digest.hexdigest()

    def _identity(self) -> Iterator[bytes]:
        yield repr(sorted(self.special_ids.items())).encode()
        for token in self.token_bytes:
            yield len(token).to_bytes(4, "little") + token

    def save(self, folder: Path | str) -> None:
        """Write the Hugging Face files into a folder, see files.py."""
        from groundup.tokenizer import files

        files.save(self, Path(folder))

    @staticmethod
    def load(path: Path | str) -> "Tokenizer":
        """Read a tokenizer of any kind and format: a folder or a file, see files.py."""
        from groundup.tokenizer import files

        return files.load(Path(path))


def _roles(special_ids: Mapping[str, int]) -> dict[str, str]:
    found = {role: next((n for n in names if n in special_ids), None) for role, names in NAMES_BY_ROLE.items()}
    return {role: name for role, name in found.items() if name is not None}


# --- special tokens in text ---


def special_border(names: Iterable[str]) -> "re.Pattern[bytes]":
    """Finds any of the names in bytes; of overlapping ones the longest. Matches nothing if there are none."""
    longest_first = sorted((name.encode() for name in names), key=len, reverse=True)
    return re.compile(b"|".join(map(re.escape, longest_first)) or b"(?!)")


def _cut(text: str | bytes, border: "tuple[re.Pattern[bytes], dict[bytes, int]]") -> Iterator[bytes | int]:
    """The text between special tokens as bytes, special tokens as ids."""
    pattern, id_by_name = border
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    end = 0
    for match in pattern.finditer(data):
        if match.start() > end:
            yield data[end : match.start()]
        yield id_by_name[match.group()]
        end = match.end()
    if end < len(data):
        yield data[end:]


# --- one id at a time ---


class Stream:
    """Ids to text as they arrive. A character is given out when its last byte is there, never in part."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False):
        self._tokenizer = tokenizer
        self._table = tokenizer._table(skip_special)
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
