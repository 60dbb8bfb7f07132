"""Train a tokenizer, turn text into ids and ids into text."""

import functools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from groundup import artifact
from groundup.errors import DataError, UsageError
from groundup.text import sources
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import DEFAULT_SPECIALS, check_vocab_size
from groundup.tokenizer.train import train as train_tokenizer

N_MEASURED = 5_000_000
"""Bytes of the text on which bytes per token are measured."""

MAX_PROCESSES = 8
"""More would wait for the one that reads."""

ID_FILES = (".npy", ".bin")


@dataclass(frozen=True)
class TrainConfig:
    paths: tuple[str, ...] = field(metadata={"positional": True})
    """files or folders of text: .txt, .md, .jsonl, also compressed or in archives"""
    out: str = "tokenizer"
    """folder for the tokenizer"""
    vocab_size: int = 4096
    """tokens in all, with the special tokens and the 256 bytes"""
    pattern: str = "gpt2"
    """what a token may span: gpt2, cl100k or llama3"""
    special_tokens: tuple[str, ...] = DEFAULT_SPECIALS
    """tokens that are made by id only, never from text"""
    max_bytes: int | None = None
    """read no more than this; ten million are plenty for a small vocabulary"""
    text_field: str = "text"
    """key of the text in JSON lines"""
    processes: int = 0
    """processes that count; 0: one for each core"""
    replace: bool = False
    """put the new tokenizer in place of one that is there"""
    dry_run: bool = False
    """check everything, read and write nothing"""
    json: bool = False
    """print one JSON object"""
    quiet: bool = False
    """say nothing on standard error but errors"""


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


# --- train ---


def train(config: TrainConfig) -> None:
    """Train a byte-level BPE tokenizer on text, saved as Hugging Face's files."""
    check_vocab_size(config.vocab_size, config.special_tokens, config.pattern)
    out = Path(config.out)
    if out.exists() and not config.replace:
        raise UsageError("there is something already", where=str(out), hint="choose another --out, or add --replace")
    for path in config.paths:
        if not Path(path).exists():
            raise DataError("there is no such file or folder", where=path)
    if config.dry_run:
        _say(f"would train {config.vocab_size} tokens on {', '.join(config.paths)} and write {out}", config.quiet)
        return

    started = time.monotonic()
    tokenizer, n_bytes = _train_with_progress(config)
    bytes_per_token = _bytes_per_token(tokenizer, _first(_texts(config), N_MEASURED))
    facts = {
        "vocab_size": tokenizer.vocab_size,
        "pattern": tokenizer.pattern,
        "trained_on_bytes": n_bytes,
        "bytes_per_token": round(bytes_per_token, 3),
        "hash": tokenizer.hash,
    }
    with artifact.writing(out, facts, replace=config.replace) as folder:
        tokenizer.save(folder)
    if config.json:
        print(json.dumps({"out": str(out), **facts, "seconds": round(time.monotonic() - started, 2)}))
    _say(
        f"{out}: {tokenizer.vocab_size} tokens from {n_bytes / 1e6:.1f} MB, {bytes_per_token:.2f} bytes per token\n"
        f'try it: groundup tokenizer encode --tokenizer {out} "Once upon a time"',
        config.quiet,
    )


def _train_with_progress(config: TrainConfig) -> tuple[Tokenizer, int]:
    """The tokenizer and how many bytes it was trained on."""
    from groundup.train.watch import phase

    phases = {
        "bytes": ("counting pieces", config.max_bytes, "B"),
        "merges": ("merging pairs", config.vocab_size - 256 - len(config.special_tokens), "merges"),
    }
    shown: dict[str, Any] = {}
    with ExitStack() as current:

        def progress(what: str, n_done: int) -> None:
            if what not in shown:
                current.close()
                title, total, unit = phases[what]
                shown[what] = current.enter_context(phase(title, total, unit, quiet=config.quiet))
            shown[what].advance(n_done - shown[what].done)

        tokenizer = train_tokenizer(
            _first(_texts(config), config.max_bytes),
            config.vocab_size,
            pattern=config.pattern,
            special_tokens=config.special_tokens,
            processes=config.processes or min(MAX_PROCESSES, _n_cores()),
            progress=progress,
        )
    return tokenizer, shown["bytes"].done


def _texts(config: TrainConfig) -> Iterator[str]:
    notice = functools.partial(_say, quiet=config.quiet)
    for document in sources.documents(config.paths, field=config.text_field, notice=notice):
        yield document.text


def _first(texts: Iterator[str], max_bytes: int | None) -> Iterator[bytes]:
    """The texts until `max_bytes` are full; the last one is cut, between two characters."""
    left = max_bytes
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        if left is not None and len(data) >= left:
            yield data[:left].decode("utf-8", "ignore").encode()
            return
        yield data
        left = None if left is None else left - len(data)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bytes_per_token(tokenizer: Tokenizer, texts: Iterator[bytes]) -> float:
    n_bytes = n_tokens = 0
    for text in texts:
        n_bytes += len(text)
        n_tokens += len(tokenizer.encode(text))
    return n_bytes / max(1, n_tokens)


# --- encode ---


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


# --- decode ---


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


VERBS = {"train": train, "encode": encode, "decode": decode}
