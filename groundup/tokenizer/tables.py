"""Tokenizers as plain tables: bytes by id, and merges as pairs of bytes, as Stanford's CS336 has them.

>>> vocab, merges = train_tables("stories.txt", 1000, ["<|endoftext|>"])  # doctest: +SKIP
>>> from_tables(vocab, merges, ["<|endoftext|>"]).encode("Once upon a time")  # doctest: +SKIP
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from groundup.errors import ArtefactError, DataError
from groundup.tokenizer import vocabulary
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.merge_order import as_list
from groundup.tokenizer.protocol import special_border
from groundup.tokenizer.train import train

BLOCK = 1 << 26
"""Bytes read at once."""

Tables = tuple[dict[int, bytes], list[tuple[bytes, bytes]]]


def from_tables(
    vocab: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Sequence[str] | None = None,
    pattern: str = "gpt2",
) -> BPE:
    """A tokenizer from tables. Special tokens that `vocab` holds keep their ids, others get the next ones.

    Text becomes a special token only where `encode(text, allow_special="all")` allows it.
    ArtefactError: ids that are none, a byte without a token, two tokens alike, a merge of what is no token.
    """
    id_by_token = {bytes(token): i for i, token in vocab.items()}
    special_ids: dict[str, int] = {}
    following = 1 + max(vocab, default=-1)
    for name in dict.fromkeys(special_tokens or ()):
        known = id_by_token.get(name.encode())
        special_ids[name] = following if known is None else known
        following += known is None
    tokens = vocabulary.table(vocab, special_ids, "vocab")
    vocabulary.check_bytes(tokens, "vocab")
    ids = {token: i for i, token in enumerate(tokens) if token}
    pairs = []
    for number, (left, right) in enumerate(merges):
        if left not in ids or right not in ids or left + right not in ids:
            raise ArtefactError(
                f"the merge {vocabulary.shown((left, right))} joins or makes a token that is not in the vocabulary",
                where=f"merges, {number}",
            )
        pairs.append((ids[left], ids[right]))
    return BPE(tokens, pairs, special_ids, pattern)


def to_tables(tokenizer: BPE) -> Tables:
    """The bytes of each id, special tokens as the bytes of their names, and the merges in order."""
    tokens = tokenizer.token_bytes
    vocab = {i: token for i, token in enumerate(tokens) if token}
    vocab |= {i: name.encode() for name, i in tokenizer.special_ids.items()}
    return dict(sorted(vocab.items())), [(tokens[left], tokens[right]) for left, right in as_list(tokenizer)]


def train_tables(
    path: Path | str,
    vocab_size: int,
    special_tokens: Sequence[str],
    *,
    pattern: str = "gpt2",
    ties: str = "lexicographic",
    processes: int = 1,
) -> Tables:
    """Train on a text file and return the tables: CS336's `train_bpe`.

    Ids: the bytes 0 to 255, then the merges in order, then the special tokens; `vocab_size` counts all of them. Special
    tokens in the file are borders and are not learned from; memory is that of the longest text between two of them. Of
    pairs that are equally frequent the one greater as a pair of bytes is merged, as in CS336. Errors as in `train`.
    DataError if the file cannot be read.
    """
    tokenizer = train(
        _documents(Path(path), special_tokens),
        vocab_size,
        pattern=pattern,
        special_tokens=special_tokens,
        ties=ties,
        threads=processes,
    )
    tokens = tokenizer.token_bytes
    merges = [(tokens[left], tokens[right]) for left, right in tokenizer.merges.tolist()]
    ordered = [*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges)]
    return dict(enumerate([*ordered, *(name.encode() for name in special_tokens)])), merges


def _documents(path: Path, special_tokens: Sequence[str]) -> Iterator[bytes]:
    """The text between special tokens."""
    border = special_border(special_tokens)
    rest = b""
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                *documents, rest = border.split(rest + block)
                yield from documents
    except OSError as error:
        raise DataError(f"cannot read {path.name}: {error.strerror}", where=str(path)) from error
    yield rest
