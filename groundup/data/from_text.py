"""Text on disk -> a tokenizer -> shards, for a command that was pointed at raw text. What exists already is kept."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from groundup import artifact
from groundup.data import shards
from groundup.data.shards import TokenData
from groundup.errors import ArtefactError
from groundup.text.records import Document
from groundup.tokenizer import train
from groundup.tokenizer.character import CharacterTokenizer
from groundup.tokenizer.protocol import Tokenizer

# Merges learned from this much text differ little from those of all of it, and take seconds.
TOKENIZER_BYTES = 10_000_000

CHARACTERS = "characters"
"""The pattern of a tokenizer whose tokens are the characters of the text."""

Phase = Callable[..., AbstractContextManager[Any]]


def first_bytes(documents: Iterable[Document], n_bytes: int) -> Iterator[str]:
    """The texts of the first documents, until `n_bytes` have been seen."""
    for document in documents:
        if n_bytes <= 0:
            return
        n_bytes -= len(document.text.encode("utf-8", "surrogatepass"))
        yield document.text


def tokenizer_for(
    documents: Callable[[], Iterable[Document]], out_dir: Path, phase: Phase, *, vocab_size: int, pattern: str
) -> Tokenizer:
    """The tokenizer in `out_dir`, trained on the first ten megabytes if there is none yet.

    A `pattern` of "characters" makes each character a token: of all of the text, whatever `vocab_size` says.
    """
    if pattern == CHARACTERS and not (out_dir / "tokenizer.json").exists():
        with phase("collecting the characters", None, "documents") as shown:
            CharacterTokenizer.train(counted(document, shown).text for document in documents()).save(out_dir)
    if not (out_dir / "tokenizer.json").exists():
        with phase("training the tokenizer", vocab_size) as shown:

            def progress(what: str, n: int) -> None:
                if what == "merges":
                    shown.advance(n - shown.done)

            texts = first_bytes(documents(), TOKENIZER_BYTES)
            train.train(texts, vocab_size, pattern=pattern, progress=progress).save(out_dir)
    return Tokenizer.load(out_dir)


def shards_for(
    documents: Callable[[], Iterable[Document]],
    tokenizer: Tokenizer,
    out_dir: Path,
    phase: Phase,
    *,
    val_fraction: float,
    seed: int,
    processes: int,
    notice: Callable[[str], None],
    held_out: Callable[[], Iterable[Document]] | None = None,
) -> TokenData:
    """The shards in `out_dir`, written if there are none yet; those of another tokenizer are an `ArtefactError`.

    `held_out` are the documents to validate on; where it is not given, a share of `documents` is kept for it.
    """
    if not (out_dir / "manifest.json").exists():
        with phase("tokenizing", None, "documents") as shown:
            shards.prepare(
                (counted(document, shown) for document in documents()),
                tokenizer,
                out_dir,
                val_fraction=val_fraction,
                seed=seed,
                processes=processes,
                notice=notice,
                held_out=None if held_out is None else (counted(document, shown) for document in held_out()),
            )
    artifact.verify(out_dir)
    data = TokenData.open(out_dir)
    check_tokenizer(data, tokenizer)
    return data


def counted(document: Document, shown: Any) -> Document:
    """The document, counted on the progress bar."""
    shown.advance(1)
    return document


def check_tokenizer(data: TokenData, tokenizer: Tokenizer) -> None:
    """Ids mean nothing under another tokenizer: raises `ArtefactError` when the hashes differ."""
    if data.tokenizer_hash != tokenizer.hash:
        raise ArtefactError(
            f"the data was made with the tokenizer {data.tokenizer_hash[:12]}, and this one is {tokenizer.hash[:12]}",
            where=str(data.path),
            hint="prepare the data again: groundup data prepare TEXT --tokenizer DIR --out DIR",
        )
