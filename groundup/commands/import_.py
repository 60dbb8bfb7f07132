"""Take a model over from another program, as a checkpoint that groundup trains, tunes and talks with.

Read are Hugging Face folders, GGUF files, and checkpoints of nanoGPT, llama2.c, happy-llm, LLMs-from-scratch and
OpenAI's GPT-2 for TensorFlow. A pickle is opened only here, and only for tensors: it cannot run anything.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.errors import UsageError

if TYPE_CHECKING:
    from groundup.weights.portable import Portable


@dataclass(frozen=True)
class Config:
    """What `groundup import` can be told."""

    path: str = field(default="", metadata={"positional": True})
    """the file or folder of another program"""
    out: str = ""
    """folder to write, a checkpoint"""
    format: str = ""
    """what it is, if it cannot be recognised: nanogpt, llama2c, happy_llm, llms_from_scratch, gpt2_tensorflow"""
    tokenizer: str = ""
    """folder, file or name of the tokenizer the model was trained with, if there is none inside"""
    set: tuple[str, ...] = ()
    """what the file does not say, as n_heads=16"""
    force: bool = False
    """skip what does not fit, and say what"""
    overwrite: bool = False
    """replace what is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def run(config: Config) -> dict[str, Any]:
    """Returns what was written: out, family, parameters, facts."""
    import orjson

    from groundup.tokenizer.protocol import Tokenizer
    from groundup.weights import checkpoint

    if not config.path or not config.out:
        raise UsageError("a file or folder and --out must be named", hint="groundup import ckpt.pt --out runs/mine")
    skipped: list[str] | None = [] if config.force else None
    source = _open(config, skipped)
    if config.tokenizer:
        source.tokenizer = Tokenizer.load(config.tokenizer)
    if not config.dry_run:
        facts = {"imported_from": Path(config.path).name, **source.facts}
        checkpoint.convert(Path(config.out), source, facts, replace=config.overwrite)
    result = {"out": config.out, "family": source.family, "parameters": source.n_parameters, "facts": source.facts}
    if config.json:
        print(orjson.dumps(result | {"skipped": skipped or []}).decode())
        return result
    print(config.out)
    if not config.quiet:
        print(f"{source.family}, {source.n_parameters:,} parameters", file=sys.stderr)
        for line in skipped or []:
            print(f"skipped: {line}", file=sys.stderr)
        for name, value in source.facts.items():
            print(f"{name}: {value}", file=sys.stderr)
        if source.tokenizer is None:
            print("no tokenizer: give the one it was trained with by --tokenizer", file=sys.stderr)
    return result


def _open(config: Config, skipped: list[str] | None) -> "Portable":
    from groundup.weights import checkpoint, foreign

    path = Path(config.path)
    is_known = path.suffix == ".gguf" or (path / "config.json").is_file()
    if is_known and not config.format:
        return checkpoint.open_portable(path, skipped)
    return foreign.read(path, config.format or None, dict(map(_field, config.set)))


def _field(text: str) -> tuple[str, Any]:
    """("n_heads", 16) of "n_heads=16"."""
    import ast

    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"{text!r} sets nothing", where="--set", hint="--set n_heads=16")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()
