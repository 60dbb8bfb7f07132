"""`groundup export hf`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from groundup.commands.export import cost, opening
from groundup.errors import UsageError

KIND = "huggingface"


@dataclass(frozen=True)
class HfConfig:
    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    out: str = ""
    """folder to write"""
    weights: str = "keep"
    """how to keep them: keep (as they are), fp32, bf16 or fp16; for int8 and int4 there is export gguf"""
    measure: str = ""
    """text files, a folder, or prepared token data: what the rounding costs there, in bits per byte"""
    max_shard_size: str = "5GB"
    """size of one file of weights, as 500MB or 5GB"""
    force: bool = False
    """skip what does not fit, and say what"""
    replace: bool = False
    """replace an older one that is there"""
    dry_run: bool = False
    json: bool = False
    quiet: bool = False


def hf(config: HfConfig) -> None:
    """Write a Hugging Face folder: transformers, vLLM and others open it."""
    import torch

    from groundup import artifact
    from groundup.weights import huggingface, read_back, safetensors_writer

    dtypes = {"keep": None, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    _check(config, dtypes)
    max_shard_bytes = _bytes(config.max_shard_size)
    source, path, skipped = opening.open_model(
        config.model, config.out, KIND, force=config.force, replace=config.replace
    )
    huggingface.refuse_elsewhere(source)
    facts = {"out": str(path), "family": source.family, "parameters": source.n_parameters, "weights": config.weights}
    facts["skipped"] = skipped
    if config.dry_run:
        opening.tell(facts, config.json, config.quiet, dry_run=True)
        return
    text = cost.text_for(config, source, is_wanted=False)
    dtype = dtypes[config.weights]
    rounding = read_back.ROUNDINGS[safetensors_writer.NAMES[dtype]] if dtype else read_back.EXACT
    with artifact.writing(path, {"kind": KIND}, replace=config.replace) as folder:
        huggingface.write(folder, source, dtype, max_shard_bytes)
        facts |= opening.proven(source, huggingface.read(folder), rounding)
    if text is not None:
        facts["bits_per_byte"] = cost.measured(text, config, path)
    opening.tell(facts, config.json, config.quiet)


def _check(config: HfConfig, valid: Iterable[str]) -> None:
    """Is there a way to keep weights so in such a folder? UsageError."""
    if config.weights in valid:
        return
    what = f"weights are {config.weights!r}; valid values are {', '.join(valid)}"
    hint = None
    if config.weights.startswith("int"):
        what = f"transformers opens weights of 8 or 4 bits only by further packages, each in its own format: {what}"
        kind = "int4" if config.weights == "int4" else "int8"
        hint = f"groundup export gguf {config.model} --out FILE.gguf --weights {kind}"
    raise UsageError(what, where="--weights", hint=hint)


def _bytes(size: str) -> int:
    """5000000000 of "5GB"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", size.strip().upper())
    if not match or not float(match[1]):
        raise UsageError(f"max_shard_size is {size!r}; valid values are such as 500MB or 5GB", where="--max-shard-size")
    return int(float(match[1]) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[match[2]])
