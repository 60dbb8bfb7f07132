"""`groundup tokenizer encode` and `groundup tokenizer decode`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from groundup.errors import DataError, UsageError
from groundup.tokenizer.protocol import Tokenizer

ID_FILES = (".npy", ".bin")


@dataclass(frozen=True)
class EncodeConfig:
    tokenizer: str
    """folder with a tokenizer.json"""
    text: str | None = field(default=None, metadata={"positional": True})
    """the text; without it and without --file, standard input"""
    file: str | None = None
    """file whose bytes are encoded as they are"""
    out: str | None = None
    """write the ids to this .npy or raw .bin file (16 bits up to 65,536 tokens, else 32) instead of standard output"""
    dry_run: bool = False
    """encode and count, write no file"""
    json: bool = False
    """print one JSON object"""
    quiet: bool = False
    """say nothing on standard error but errors"""


@dataclass(frozen=True)
class DecodeConfig:
    tokenizer: str
    """folder with a tokenizer.json"""
    ids: tuple[int, ...] = field(default=(), metadata={"positional": True})
    """the ids; without them and without --file, standard input"""
    file: str | None = None
    """.npy, raw .bin, or text with ids"""
    skip_special: bool = False
    """leave special tokens out"""
    json: bool = False
    """print one JSON object"""
    quiet: bool = False
    """say nothing on standard error but errors"""


def encode(config: EncodeConfig) -> None:
    """Turn text into token ids, on standard output or into a file."""
    tokenizer = Tokenizer.load(config.tokenizer)
    if config.out is not None and Path(config.out).suffix not in ID_FILES:
        raise UsageError(f"--out must end in {' or '.join(ID_FILES)}", where=config.out)
    if config.text is not None and config.file is not None:
        raise UsageError("there is a text and a --file", hint="give one of them")
    data = config.text if config.text is not None else _read(config.file)
    ids = tokenizer.encode(data)

    if config.out is None:
        _print_ids(ids, tokenizer, config.json)
        return
    if not config.dry_run:
        from groundup.data.token_files import write_ids

        write_ids(config.out, ids, tokenizer.vocab_size)
    if config.json:
        print(json.dumps({"out": config.out, "n_tokens": len(ids)}))
    _say(f"{'would write' if config.dry_run else 'wrote'} {len(ids)} ids to {config.out}", config.quiet)


def _print_ids(ids: np.ndarray, tokenizer: Tokenizer, as_json: bool) -> None:
    if as_json:
        tokens = [tokenizer.decode([i]) for i in ids.tolist()]
        print(json.dumps({"n_tokens": len(ids), "ids": ids.tolist(), "tokens": tokens}))
    else:
        print(" ".join(map(str, ids.tolist())))


def _read(file: str | None) -> bytes:
    """The bytes of a file, or of standard input."""
    if file is None or file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", where=file) from error


def decode(config: DecodeConfig) -> None:
    """Turn token ids into text on standard output."""
    tokenizer = Tokenizer.load(config.tokenizer)
    if config.ids and config.file is not None:
        raise UsageError("there are ids and a --file", hint="give one of them")
    ids = config.ids or _read_ids(config.file, tokenizer.vocab_size)
    if config.json:
        print(json.dumps({"n_tokens": len(ids), "text": tokenizer.decode(ids, skip_special=config.skip_special)}))
        return
    # Bytes, not text: what was encoded comes out as it was, even where a terminal has no character for it.
    sys.stdout.flush()
    sys.stdout.buffer.write(tokenizer.decode_bytes(ids, skip_special=config.skip_special))
    sys.stdout.buffer.write(b"\n" if sys.stdout.isatty() else b"")
    sys.stdout.buffer.flush()


def _read_ids(file: str | None, vocab_size: int) -> Sequence[int] | np.ndarray:
    if file is not None and Path(file).suffix in ID_FILES:
        from groundup.data.token_files import dtype_for, read_ids

        if not Path(file).is_file():
            raise DataError("there is no such file", where=file)
        return np.asarray(read_ids(file, vocab_size, dtype_for(vocab_size)))
    text = _read(file).decode("utf-8", "replace")
    if text.lstrip().startswith("{"):  # what `encode --json` printed
        text = text.partition('"ids":')[2].partition("]")[0]
    words = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    for word in words:
        if not word.isdecimal():
            raise DataError(f"{word[:40]!r} is not a token id", where=file or "standard input")
    return [int(word) for word in words]


def _say(text: str, quiet: bool = False) -> None:
    if not quiet:
        print(text, file=sys.stderr)
