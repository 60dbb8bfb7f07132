"""How much there is to learn from: exact where token data is there, estimated from the beginning of raw text.

Bytes per token are found by encoding a sample, with the tokenizer that is named or one trained on that sample, which
is what the run will do with more of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.errors import DataError, UsageError

SAMPLE_BYTES = 3_000_000
COUNTED_BYTES = 64_000_000
"""Of text that is read to be counted; of more, the size of the files says how much more."""

PER_PACKED_BYTE = {".xz": 3.5, ".bz2": 3.5, ".gz": 2.7, ".zst": 3.0, ".zip": 2.7}
"""Bytes of text for one of a packed file, where it is the only file and too large to be read to its end."""


@dataclass(frozen=True)
class Corpus:
    """What a run reads. `n_bytes` are of text; `is_exact` where nothing was estimated."""

    n_bytes: float
    n_tokens: float
    n_documents: float
    vocab_size: int
    is_exact: bool
    is_prepared: bool
    """Are there token data already, so that neither tokenizer nor shards have to be made?"""
    has_tokenizer: bool
    tokenizer_bytes: float
    """On disk."""

    @property
    def token_bytes(self) -> int:
        return 2 if self.vocab_size <= 2**16 else 4

    @property
    def shard_bytes(self) -> float:
        return self.n_tokens * self.token_bytes + 8 * (self.n_documents + 2) + self.tokenizer_bytes


def look(config: Any) -> Corpus:
    """The corpus of a pretraining configuration. DataError if there is no text."""
    from groundup.tokenizer.protocol import Tokenizer

    path = Path(config.data)
    if (path / "manifest.json").exists():
        return prepared(path)
    named = config.tokenizer
    if config.init_from and not named:
        from groundup.weights import checkpoint

        named = str(checkpoint.resolve(config.init_from))
    n_read, n_documents, more, sample = read(path)
    if not n_read:
        raise DataError("there is no text", where=str(path))
    n_bytes = n_read * more
    if named:
        tokenizer = Tokenizer.load(named)
    else:
        from groundup.tokenizer import train

        tokenizer = train.train(sample, config.vocab_size, pattern=config.pattern)
    n_sample = sum(len(text.encode("utf-8", "surrogatepass")) for text in sample)
    n_ids = sum(len(tokenizer.encode(text)) + 1 for text in sample)
    vocab_size = tokenizer.vocab_size if named else config.vocab_size
    return Corpus(
        n_bytes=n_bytes,
        n_tokens=n_bytes * n_ids / n_sample,
        n_documents=n_documents * more,
        vocab_size=vocab_size,
        is_exact=False,
        is_prepared=False,
        has_tokenizer=bool(named),
        tokenizer_bytes=on_disk(tokenizer) * vocab_size / max(1, tokenizer.vocab_size),
    )


def prepared(path: Path) -> Corpus:
    """What the manifest of token data says."""
    from groundup.data.shards import TokenData

    manifest = TokenData.open(path).manifest
    counts = manifest["counts"].values()
    n_tokenizer = sum(file.stat().st_size for file in (path / "tokenizer").glob("*"))
    return Corpus(
        n_bytes=sum(each["bytes"] for each in counts),
        n_tokens=sum(each["tokens"] for each in counts),
        n_documents=sum(each["documents"] for each in counts),
        vocab_size=manifest["vocab_size"],
        is_exact=True,
        is_prepared=True,
        has_tokenizer=True,
        tokenizer_bytes=n_tokenizer,
    )


def read(path: Path) -> tuple[int, int, float, list[str]]:
    """(bytes of text read, documents, by how much the whole is more than that, the first of them as a sample).

    Text is read file by file until there is enough. What the files that follow hold is told from their size, by what
    the ones before held for theirs: packed files hold more, rows of JSON a little less.
    """
    from groundup.text import files, sources

    if not path.exists():
        raise UsageError("there is no such file or folder", where=str(path))
    named = list(files.files([path]))
    n_bytes, n_documents, n_sample, sample = 0, 0, 0, []
    whole_bytes, whole_size = 0, 0  # of files read to their end
    for file in named:
        for document in sources.documents([file]):
            size = len(document.text.encode("utf-8", "surrogatepass"))
            if n_sample < SAMPLE_BYTES:
                sample.append(document.text[:SAMPLE_BYTES])
                n_sample += size
            n_bytes, n_documents = n_bytes + size, n_documents + 1
            if n_bytes > COUNTED_BYTES:
                per_byte = whole_bytes / whole_size if whole_size else PER_PACKED_BYTE.get(file.suffix, 1.0)
                in_all = per_byte * sum(each.stat().st_size for each in named)
                return n_bytes, n_documents, max(1.0, in_all / n_bytes), sample
        whole_bytes, whole_size = n_bytes, whole_size + file.stat().st_size
    return n_bytes, n_documents, 1.0, sample


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in _files(path))


def _files(path: Path) -> Iterator[Path]:
    yield from (path,) if path.is_file() else (file for file in path.rglob("*") if file.is_file())


def on_disk(tokenizer: Any) -> int:
    """Bytes of a tokenizer's folder, by writing it once."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder, "tokenizer"))
        return size_of(Path(folder, "tokenizer"))
