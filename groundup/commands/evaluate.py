"""Measure a model on held-out text: loss, perplexity and bits per byte."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Config:
    """What `groundup evaluate` can be told."""

    model: str = field(default="", metadata={"positional": True})
    """a run, a checkpoint, a Hugging Face folder or a GGUF file"""
    data: str = ""
    """text files or a folder of them, or prepared token data, whose validation split is taken"""
    context_length: int = 0
    """tokens per window; 0 takes the model's"""
    batch_size: int = 16
    """windows per forward pass"""
    rows: int = 0
    """windows to measure; 0 takes all"""
    engine: str = "auto"
    """torch (any device) or compiled (CPU); auto takes torch, and the compiled one where --weights are asked for"""
    weights: str = "auto"
    """how the compiled engine keeps them: auto (as in the file), fp32, bf16, fp16, int8, int8-row, int4"""
    device: str = "auto"
    """auto, cpu, cuda, mps"""
    force: bool = False
    """open a model that does not keep its contract, and say what is skipped"""
    json: bool = False
    """one JSON object on stdout"""
    quiet: bool = False
    """only the numbers"""


def run(config: Config) -> dict[str, Any]:
    """Returns loss, perplexity, bits_per_byte and the number of targets."""
    import numpy as np
    import orjson

    from groundup.errors import UsageError
    from groundup.evaluate import held_out
    from groundup.evaluate.loss import byte_lengths, held_out_loss

    if not config.model or not config.data:
        raise UsageError("a model and data must be named", hint="groundup evaluate RUN --data FILE-OR-FOLDER")
    speaker = _opened(config)
    for line in speaker.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    split = held_out.split_of(Path(config.data), speaker.tokenizer)
    windows = held_out.windows(split, config.context_length or speaker.context_length, config.rows, config.batch_size)
    result = held_out_loss(speaker.model, windows, byte_lengths(speaker.tokenizer))
    result = {name: round(value, 6) if isinstance(value, float) else value for name, value in result.items()}
    if config.json:
        print(orjson.dumps(result).decode())
    else:
        print(f"loss          {result['loss']:.4f} nats per token")
        print(f"perplexity    {result['perplexity']:.3f}")
        print(f"bits per byte {result.get('bits_per_byte', np.nan):.4f}")
        if not config.quiet:
            length = windows[0].ids.shape[1]
            print(f"{result['n_targets']:,} tokens in windows of {length}, by {speaker.engine}", file=sys.stderr)
    return result


def _opened(config: Config) -> Any:
    """A LanguageModel, by the engine that is asked for and no other."""
    from groundup.errors import UsageError
    from groundup.inference import language_model
    from groundup.train.devices import device_for

    engine = config.engine if config.engine != "auto" else "torch" if config.weights == "auto" else "compiled"
    if engine == "torch" and config.weights != "auto":
        raise UsageError("--weights are of the compiled engine", where="--engine torch", hint="--engine compiled")
    if engine == "compiled" and config.device not in ("auto", "cpu"):
        raise UsageError("the compiled engine runs on the CPU", where=f"--device {config.device}", hint="--device cpu")
    return language_model.load(
        config.model,
        lambda: str(device_for(config.device)),
        force=config.force,
        engine=engine,
        weights=config.weights,
    )
