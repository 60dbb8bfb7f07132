"""Take a model over from another program, as a checkpoint that groundup trains, tunes and talks with.

Read are Hugging Face folders, pickled ones too, GGUF files, and checkpoints of nanoGPT, llama2.c, happy-llm,
LLMs-from-scratch and OpenAI's GPT-2 for TensorFlow. A pickle is opened only here, and only for tensors: it cannot run
anything.
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
    replace: bool = False
    """replace an older one that is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def run(config: Config) -> dict[str, Any]:
    """Returns what was written: out, family, parameters, facts."""
    import orjson

    from groundup import artifact
    from groundup.tokenizer.protocol import Tokenizer
    from groundup.weights import checkpoint, contract

    if not config.path or not config.out:
        raise UsageError("a file or folder and --out must be named", hint="groundup import ckpt.pt --out runs/mine")
    out = artifact.claim(config.out, checkpoint.KIND, replace=config.replace, source=config.path)
    skipped: list[str] = []
    source = _open(config, skipped if config.force else None)
    for line in skipped:
        print(f"skipped: {line}", file=sys.stderr)
    if config.tokenizer:
        source.tokenizer = Tokenizer.load(config.tokenizer)
    contract.check_vocabulary(source.config.vocab_size, source.tokenizer, Path(config.tokenizer or config.path))
    if not config.dry_run:
        facts = {"imported_from": Path(config.path).name, **source.facts}
        checkpoint.convert(out, source, facts, replace=config.replace)
    result = {"out": config.out, "family": source.family, "parameters": source.n_parameters, "facts": source.facts}
    if config.json:
        print(orjson.dumps(result | {"skipped": skipped}).decode())
        return result
    print(config.out)
    if not config.quiet:
        would = "would write " if config.dry_run else ""
        print(f"{would}{source.family}, {source.n_parameters:,} parameters", file=sys.stderr)
        for name, value in source.facts.items():
            print(f"{name}: {value}", file=sys.stderr)
        if source.tokenizer is None:
            print("no tokenizer: give the one it was trained with by --tokenizer", file=sys.stderr)
    return result


def _open(config: Config, skipped: list[str] | None) -> "Portable":
    from groundup.weights import checkpoint, contract, foreign, places
    from groundup.weights.foreign import hf_pickled

    path = Path(config.path)
    if any((path / name).is_file() for name in (contract.FILE, *places.POINTERS)):
        hint = f"groundup generate {path}; groundup export hands it on"
        raise UsageError("this is groundup's own, and needs no import", where=str(path), hint=hint)
    is_known = path.suffix == ".gguf" or (path / "config.json").is_file()
    if is_known and not config.format:
        if config.set:
            what = f"{', '.join(config.set)} cannot be set: a GGUF file or a Hugging Face folder says it all itself"
            raise UsageError(what, where="--set")
        return (hf_pickled.read if hf_pickled.recognises(path) else checkpoint.open_portable)(path, skipped)
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
