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

    from groundup import models
    from groundup.data.batches import Windows
    from groundup.data.encoding import end_id
    from groundup.data.shards import Split, TokenData
    from groundup.errors import UsageError
    from groundup.evaluate.loss import byte_lengths, held_out_loss
    from groundup.text import sources
    from groundup.train.devices import device_for
    from groundup.weights import checkpoint

    if not config.model or not config.data:
        raise UsageError("a model and data must be named", hint="groundup evaluate RUN --data FILE-OR-FOLDER")
    loaded = checkpoint.load(config.model, device=str(device_for(config.device)), share=True, force=config.force)
    for line in loaded.skipped:
        print(f"skipped: {line}", file=sys.stderr)
    tokenizer = loaded.needed_tokenizer()
    path = Path(config.data)
    if (path / "manifest.json").exists():
        split = TokenData.open(path).split("val")
    else:
        texts = [tokenizer.encode(document.text) for document in sources.documents([path])]
        split = Split.of_documents(texts, end_id(tokenizer))
    context_length = config.context_length or models.shape_of(loaded.model).context_length
    context_length = min(context_length, max(1, len(split.ids) - 1))
    windows = Windows(split, context_length, config.batch_size, seed=0)
    result = held_out_loss(loaded.model, windows.fixed(config.rows), byte_lengths(tokenizer))
    result = {name: round(value, 6) if isinstance(value, float) else value for name, value in result.items()}
    if config.json:
        print(orjson.dumps(result).decode())
    else:
        print(f"loss          {result['loss']:.4f} nats per token")
        print(f"perplexity    {result['perplexity']:.3f}")
        print(f"bits per byte {result.get('bits_per_byte', np.nan):.4f}")
        if not config.quiet:
            print(f"{result['n_targets']:,} tokens in windows of {context_length}", file=sys.stderr)
    return result
