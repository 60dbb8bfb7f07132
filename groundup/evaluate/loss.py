"""How well a model predicts held-out text: loss, perplexity, bits per byte.

Bits per byte compare models of different tokenizers: the loss is divided by the bytes that the targets stand for,
counted from the tokenizer's own table and not from decoded text.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from groundup.data.batches import IGNORE, Batch
from groundup.inference.runner import Runner, Work
from groundup.tokenizer.protocol import Tokenizer
from groundup.train.losses import next_token

PIECE = 256
"""Ids that a runner is given at a time: logits of a large vocabulary after each are many numbers."""


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """Bytes of text that each id stands for, (vocab_size,); special tokens stand for none."""
    return torch.tensor([len(piece) for piece in tokenizer.token_bytes])


@torch.no_grad()
def held_out_loss(model, batches: Iterable[Batch], lengths: Tensor | None = None) -> dict[str, float]:
    """`loss` (nats per target), `perplexity`, `n_targets`, and with byte lengths `bits_per_byte`, over all batches.

    model: an nn.Module of models/, or a Runner, whose batches have one text in a row.
    """
    total, n_targets, n_bytes = 0.0, 0, 0
    for batch in batches:
        total += runner_loss(model, batch) if isinstance(model, Runner) else _model_loss(model, batch)
        n_targets += batch.n_targets
        if lengths is not None:
            n_bytes += int(lengths[batch.targets[batch.targets != IGNORE]].sum())
    loss = total / max(1, n_targets)
    result = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "n_targets": n_targets}
    if n_bytes:
        result["bits_per_byte"] = total / math.log(2) / n_bytes
    return result


def _model_loss(model, batch: Batch) -> float:
    return next_token(model, batch.to(next(model.parameters()).device))[0].item()


def runner_loss(runner: Runner, batch: Batch) -> float:
    """Cross-entropy summed over the targets, in nats, by the engine that talks."""
    if batch.segments is not None:
        raise ValueError("a runner's row is one text, and these rows have segments")
    total = 0.0
    for ids, targets in zip(batch.ids.tolist(), batch.targets.numpy(), strict=True):
        state = runner.open()
        try:
            for start in range(0, len(ids), PIECE):
                (logits,) = runner.run([Work(state, ids[start : start + PIECE], every=True)])
                total += _surprise(logits, targets[start : start + PIECE])
        finally:
            state.close()
    return total


def _surprise(logits: np.ndarray, targets: np.ndarray) -> float:
    """Minus the log-probabilities of the targets that are not IGNORE: logits (n, vocab_size), targets (n,)."""
    is_target = targets != IGNORE
    logits, targets = logits[is_target], targets[is_target]
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64))
    return float((log_sums - shifted[np.arange(len(targets)), targets]).sum())
