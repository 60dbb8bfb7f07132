"""`groundup tokenizer extend`."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from groundup.commands.tokenizer.counting import Progress, check, counted, say, size_of
from groundup.commands.tokenizer.train import finish
from groundup.errors import UsageError
from groundup.tokenizer.bpe import BPE
from groundup.tokenizer.protocol import Tokenizer
from groundup.tokenizer.train import extend as extend_tokenizer


@dataclass(frozen=True)
class ExtendConfig:
    paths: tuple[str, ...] = field(metadata={"positional": True})
    """files or folders of text, or of counts"""
    tokenizer: str
    """the tokenizer to extend: a folder or file"""
    vocab_size: int
    """tokens in all, the old ones among them"""
    out: str = "tokenizer"
    """folder for the larger tokenizer"""
    ties: str = "huggingface"
    """which of equally frequent pairs is merged first; as in the training before"""
    max_bytes: int | None = None
    """read no more than this"""
    text_field: str = "text"
    """key of the text in JSON lines"""
    counts: str | None = None
    """folder for the counts of pieces: written, or taken from there if it exists"""
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


def extend(config: ExtendConfig) -> None:
    """Go on to a larger vocabulary: the old ids keep their meaning, new ones follow."""
    check(config.paths, Path(config.out), config.replace)
    tokenizer = Tokenizer.load(config.tokenizer)
    if not isinstance(tokenizer, BPE):
        raise UsageError(f"a tokenizer of {tokenizer.kind} cannot be extended", where=config.tokenizer)
    if config.vocab_size <= tokenizer.vocab_size:
        raise UsageError(f"the tokenizer has {tokenizer.vocab_size} tokens already", hint="--vocab-size must be larger")
    if config.dry_run:
        say(f"would extend {config.tokenizer} to {config.vocab_size} tokens and write {config.out}", config.quiet)
        return
    started = time.monotonic()
    with Progress(size_of(config), config.vocab_size, config.quiet) as progress:
        found = counted(config, tokenizer.pattern, tuple(tokenizer.special_ids), progress)
        larger = extend_tokenizer(tokenizer, found, config.vocab_size, ties=config.ties, progress=progress)
    finish(config, larger, found.n_bytes, time.monotonic() - started)
