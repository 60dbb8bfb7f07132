"""`groundup tokenizer train`."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from groundup import artifact
from groundup.commands.tokenizer.counting import Progress, check, counted, first, say, size_of, texts_of
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import DEFAULT_SPECIALS, check_vocab_size, learn

N_MEASURED = 5_000_000
"""Bytes of the text on which bytes per token are measured."""


@dataclass(frozen=True)
class TrainConfig:
    paths: tuple[str, ...] = field(metadata={"positional": True})
    """files or folders of text: .txt, .md, .jsonl, also compressed or in archives; or folders of counts"""
    out: str = "tokenizer"
    """folder for the tokenizer"""
    vocab_size: int = 4096
    """tokens in all, with the special tokens and the 256 bytes"""
    pattern: str = "gpt2"
    """what a token may span: gpt2, cl100k, o200k, llama3, qwen2, smollm, or a regular expression"""
    special_tokens: tuple[str, ...] = DEFAULT_SPECIALS
    """tokens that are made by id only, never from text"""
    ties: str = "huggingface"
    """which of equally frequent pairs is merged first: huggingface, bytes (rustbpe) or lexicographic (CS336)"""
    max_bytes: int | None = None
    """read no more than this; ten million are plenty for a small vocabulary"""
    text_field: str = "text"
    """key of the text in JSON lines"""
    counts: str | None = None
    """folder for the counts of pieces: written, or taken from there if it exists, so that a training goes on"""
    threads: int = 0
    """threads that count; 0: one for each core"""
    replace: bool = False
    """put the new tokenizer in place of one that is there"""
    dry_run: bool = False
    """check everything, read and write nothing"""
    json: bool = False
    """print one JSON object"""
    quiet: bool = False
    """say nothing on standard error but errors"""


def train(config: TrainConfig) -> None:
    """Train a byte-level BPE tokenizer on text, saved as Hugging Face's files."""
    check_vocab_size(config.vocab_size, config.special_tokens, config.pattern, config.ties)
    out = Path(config.out)
    check(config.paths, out, config.replace)
    if config.dry_run:
        say(f"would train {config.vocab_size} tokens on {', '.join(config.paths)} and write {out}", config.quiet)
        return

    started = time.monotonic()
    n_merges = config.vocab_size - 256 - len(config.special_tokens)
    with Progress(size_of(config), n_merges, config.quiet) as progress:
        found = counted(config, config.pattern, config.special_tokens, progress)
        tokenizer = learn(found, config.vocab_size, ties=config.ties, progress=progress)
    finish(config, tokenizer, found.n_bytes, time.monotonic() - started)


def finish(config, tokenizer: Tokenizer, n_bytes: int, seconds: float) -> None:
    """Save a tokenizer and say what it is."""
    bytes_per_token = _bytes_per_token(tokenizer, first(texts_of(config), N_MEASURED))
    facts = {
        "vocab_size": tokenizer.vocab_size,
        "pattern": tokenizer.pattern,
        "trained_on_bytes": n_bytes,
        "bytes_per_token": round(bytes_per_token, 3),
        "hash": tokenizer.hash,
    }
    with artifact.writing(config.out, facts, replace=config.replace) as folder:
        tokenizer.save(folder)
    if config.json:
        print(json.dumps({"out": config.out, **facts, "seconds": round(seconds, 2)}))
    say(
        f"{config.out}: {tokenizer.vocab_size} tokens from {n_bytes:,} bytes"
        + (f", {bytes_per_token:.2f} bytes per token" if bytes_per_token else "")
        + f'\ntry it: groundup tokenizer encode --tokenizer {config.out} "Once upon a time"',
        config.quiet,
    )


def _bytes_per_token(tokenizer: Tokenizer, texts: Iterator[bytes]) -> float:
    n_bytes = n_tokens = 0
    for text in texts:
        n_bytes += len(text)
        n_tokens += len(tokenizer.encode(text))
    return n_bytes / max(1, n_tokens)
