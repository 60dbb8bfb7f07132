"""What a stage minimises: `loss(model, batch) -> (sum over targets, number of targets, metrics)`.

Sums, not means: the loop adds them over micro-batches and divides once by all targets of the step, so that many small
batches equal the one big batch even when their numbers of targets differ.
"""

import torch
from torch import Tensor

from groundup.data.batches import Batch
from groundup.layers.loss import linear_cross_entropy


def document_mask(segments: Tensor) -> Tensor:
    """Attend only within one's own segment and only to the past: (B, T) numbers -> (B, 1, T, T) booleans.

    A row of the mask is never empty, also where `segments` is 0 (padding): each position sees itself.
    """
    T = segments.shape[-1]
    is_same = segments[:, None, :, None] == segments[:, None, None, :]
    is_past = torch.ones(T, T, dtype=torch.bool, device=segments.device).tril()
    return is_same & is_past


def next_token(model, batch: Batch) -> tuple[Tensor, int, dict[str, float]]:
    """Cross-entropy of every target: the loss of pretraining, and of tuning where the batch masks the user's words."""
    mask = None if batch.segments is None else document_mask(batch.segments)
    hidden = model.hidden(batch.ids, positions=batch.positions, mask=mask)
    total, n_targets = linear_cross_entropy(hidden, model.lm_head_weight, batch.targets, softcap=model.softcap)
    return total, int(n_targets), {}
