"""Text to measure a model on: where it is, and how it is cut into windows."""

import tomllib
from pathlib import Path
from typing import NamedTuple

from groundup import artifact
from groundup.data import from_text
from groundup.data.batches import Batch, Windows
from groundup.data.encoding import end_id
from groundup.data.shards import Split, TokenData
from groundup.errors import GroundupError
from groundup.text import sources
from groundup.tokenizer.protocol import Tokenizer


def split_of(path: Path, tokenizer: Tokenizer) -> Split:
    """The validation split of prepared token data, or all of text files or a folder of them.

    ArtefactError for token data of another tokenizer.
    """
    if (path / artifact.MANIFEST).exists():
        data = TokenData.open(path)
        from_text.check_tokenizer(data, tokenizer)
        return data.split("val")
    texts = [tokenizer.encode(document.text) for document in sources.documents([path])]
    return Split.of_documents(texts, end_id(tokenizer))


def windows(split: Split, context_length: int, n_rows: int = 0, batch_size: int = 16) -> list[Batch]:
    """`n_rows` windows spread over it, all of them if 0; as long as the text where that is shorter."""
    context_length = min(context_length, max(1, len(split.ids) - 1))
    return Windows(split, context_length, batch_size, seed=0).fixed(n_rows)


class OfRun(NamedTuple):
    """What a run was trained on: its token data, None if that is gone, and the tokens of a row, 0 if not known."""

    data: Path | None = None
    context_length: int = 0


def of_run(checkpoint: Path, tokenizer: Tokenizer) -> OfRun:
    """For a checkpoint in the folder of its run; token data of another tokenizer does not count."""
    run_dir = checkpoint.absolute().parent.parent
    try:
        said = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return OfRun()
    named = said.get("data", "")
    named = named[0] if isinstance(named, list) and named else named
    fitting = [path for path in (run_dir / "data", Path(str(named))) if _is_of(tokenizer, path)]
    length = said.get("context_length")
    return OfRun(fitting[0] if fitting else None, length if isinstance(length, int) else 0)


def _is_of(tokenizer: Tokenizer, path: Path) -> bool:
    """Is this token data of a tokenizer?"""
    try:
        return (path / artifact.MANIFEST).exists() and TokenData.open(path).tokenizer_hash == tokenizer.hash
    except GroundupError:  # something else, or damaged
        return False
