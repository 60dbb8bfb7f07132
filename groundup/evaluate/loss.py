"""How well a model predicts held-out text: loss, perplexity, bits per byte.

Bits per byte compare models of different tokenizers: the loss is divided by the bytes that the targets stand for,
counted from the tokenizer's own table and not from decoded text.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from groundup.data.batches import IGNORE, Batch
from groundup.tokenizer.protocol import Tokenizer
from groundup.train.losses import next_token


def byte_lengths(tokenizer: Tokenizer) -> Tensor:
    """Bytes of text that each id stands for, (vocab_size,); special tokens stand for none."""
    return torch.tensor([len(piece) for piece in tokenizer.token_bytes])


@torch.no_grad()
def held_out_loss(model, batches: Iterable[Batch], lengths: Tensor | None = None) -> dict[str, float]:
    """`loss` (nats per target), `perplexity`, `n_targets`, and with byte lengths `bits_per_byte`, over all batches."""
    device = next(model.parameters()).device
    total, n_targets, n_bytes = 0.0, 0, 0
    for batch in batches:
        loss_sum, n, _ = next_token(model, batch.to(device))
        total += loss_sum.item()
        n_targets += n
        if lengths is not None:
            n_bytes += int(lengths[batch.targets[batch.targets != IGNORE]].sum())
    loss = total / max(1, n_targets)
    result = {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "n_targets": n_targets}
    if n_bytes:
        result["bits_per_byte"] = total / math.log(2) / n_bytes
    return result
