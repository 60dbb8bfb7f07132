"""Text to measure a model on: where it is, and how it is cut into windows."""

import tomllib
from pathlib import Path

from groundup import artifact
from groundup.data import from_text
from groundup.data.batches import Batch, Windows
from groundup.data.encoding import end_id
from groundup.data.shards import Split, TokenData
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


def of_run(checkpoint: Path, tokenizer: Tokenizer) -> Path | None:
    """The token data that the run of a checkpoint was trained on, if it is still there and of this tokenizer."""
    run_dir = checkpoint.absolute().parent.parent
    try:
        named = tomllib.loads((run_dir / "config.toml").read_text(encoding="utf-8")).get("data", "")
    except (OSError, ValueError):  # not of a run
        return None
    named = named[0] if isinstance(named, list) and named else named
    for path in (run_dir / "data", Path(str(named))):
        if (path / artifact.MANIFEST).exists() and TokenData.open(path).tokenizer_hash == tokenizer.hash:
            return path
    return None
